/** One run of one system in one set-up: links, origin, start signal, measurements, proof. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuBusyShare, parseCpuTimes } from '../../e2e/demo/cpu.ts';
import { PAYLOAD_SHARE } from './fluidBound.ts';
import { type Host, type LinkBytes, readLinks } from './links.ts';
import { processorSeconds } from './processes.ts';
import { withRig, wrongFiles } from './rig.ts';
import { boundOf, bytesPerSecond, type Setup, sizeBytesOf } from './setups.ts';
import type { Facts, Rig, RunningSystem, System } from './system.ts';

export interface SwarmRun {
  readonly setup: string;
  readonly system: string;
  /** From the start signal until the last node had the file. */
  readonly seconds: number;
  readonly boundSeconds: number;
  readonly oneCopyBoundSeconds: number;
  /** By node, from the start signal. */
  readonly nodeSeconds: Readonly<Record<string, number>>;
  /** When the late nodes got their start signal, or a relay was killed. */
  readonly halfwaySeconds?: number;
  /** By the origin's own count, headers included. */
  readonly originCopies: number;
  /** By the relays' links, headers included, as copies of the file. */
  readonly relayCopies: number;
  /** Nodes' bytes per second over the bound's rate, from 2 s to 6 s after a relay was killed. */
  readonly rateAfterKill?: number | undefined;
  readonly cpuBusyShare: number;
  readonly cpuSeconds: { readonly relays: number; readonly nodes: number };
  /** When the origin's link had carried all but the last half percent of what it carried. */
  readonly originSeconds: number;
  readonly linkUse: {
    readonly origin: number;
    readonly relaysUp: number;
    readonly nodesUp: number;
  };
  readonly wrongNodes: readonly string[];
  readonly facts: Facts;
  /** Why its times say nothing. */
  readonly leftOut?: string;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
  /** Longer than this many times the bound, and the run is given up. */
  readonly timeoutSeconds: number;
}

/** Bytes on links, headers included. */
interface Sample {
  readonly seconds: number;
  /** By the nodes that began first. */
  readonly bytes: number;
  readonly fromOrigin: number;
}

const POLL_MS = 100;
const TELL_EVERY_MS = 2_000;
/** When an origin's last requests have ended after their clients did. */
const SETTLE_MS = 200;

export async function swarmRun(
  setup: Setup,
  system: System,
  options: RunOptions,
): Promise<SwarmRun> {
  const doneAtMs = new Map<string, number>();
  const done = ({ name }: Host) => doneAtMs.set(name, performance.now());
  return withRig(setup, system, { signal: options.signal, done }, (rig, running, hosts) =>
    measure(rig, system, running, doneAtMs, hosts, options),
  );
}

async function measure(
  rig: Rig,
  system: System,
  running: RunningSystem,
  doneAtMs: ReadonlyMap<string, number>,
  hosts: readonly Host[],
  { log, signal, timeoutSeconds }: RunOptions,
): Promise<SwarmRun> {
  const { setup, nodes, relays, origin } = rig;
  const sizeBytes = origin.file.sizeBytes;
  const late = nodes.slice(nodes.length - (setup.lateNodes ?? 0));
  const first = nodes.slice(0, nodes.length - late.length);
  const cpuOf = () =>
    new Map([...running.pids].map(([name, pid]) => [name, processorSeconds(pid)]));
  const originBefore = await origin.sentBytes();
  const cpuBefore = cpuOf();
  const machineBefore = await machineTimes();
  const before = readLinks();
  const beganAtMs = performance.now();
  const elapsed = () => (performance.now() - beganAtMs) / 1000;
  running.begin(first);

  const halfBytes = (first.length * sizeBytes) / 2 / PAYLOAD_SHARE;
  let half: { seconds: number } | undefined;
  const samples: Sample[] = [];
  let told = { atMs: beganAtMs, links: before };
  while (doneAtMs.size < nodes.length) {
    await sleep(POLL_MS, undefined, { signal });
    running.check();
    if (elapsed() > timeoutSeconds) {
      const missing = nodes.filter(({ name }) => !doneAtMs.has(name)).map(({ name }) => name);
      throw new Error(`not done after ${timeoutSeconds} s: ${missing.join(', ')}`);
    }
    const links = readLinks();
    const received = sumOf(first, links, before, 'received');
    const fromOrigin = sumOf([origin.host], links, before, 'sent');
    samples.push({ seconds: elapsed(), bytes: received, fromOrigin });
    if (half === undefined && received >= halfBytes) {
      half = { seconds: elapsed() };
      if (late.length > 0) running.begin(late);
      const [victim] = relays;
      if (setup.killsRelay && victim !== undefined) running.killRelay(victim);
    }
    if (performance.now() - told.atMs >= TELL_EVERY_MS) {
      log(linkLine(elapsed(), hosts, links, told.links, performance.now() - told.atMs));
      told = { atMs: performance.now(), links };
    }
  }
  const after = readLinks();
  const seconds = Math.max(...doneAtMs.values()) - beganAtMs;
  const machine = cpuBusyShare(machineBefore, await machineTimes());
  const cpuAfter = cpuOf();
  // What a killed relay used is not known: its process took the count with it.
  const cpu = (of: readonly Host[]) =>
    of.reduce((sum, { name }) => {
      return sum + Math.max(0, (cpuAfter.get(name) ?? 0) - (cpuBefore.get(name) ?? 0));
    }, 0);
  const facts = running.facts();
  const wrongNodes = await wrongFiles(rig, running);
  await rig.processes.stop();
  await sleep(SETTLE_MS);
  const originBytes = (await origin.sentBytes()) - originBefore;
  const bound = boundOf(setup);
  const use = (of: readonly Host[], direction: 'sent' | 'received') => {
    const could = of.reduce((sum, { link }) => sum + bytesPerSecond(link.up), 0) * (seconds / 1000);
    return could === 0 ? 0 : sumOf(of, after, before, direction) / could;
  };
  return {
    setup: setup.name,
    system: system.name,
    seconds: seconds / 1000,
    boundSeconds: bound.seconds,
    oneCopyBoundSeconds: bound.oneCopySeconds,
    nodeSeconds: Object.fromEntries(
      [...doneAtMs].map(([name, atMs]) => [name, (atMs - beganAtMs) / 1000]),
    ),
    ...(half !== undefined &&
      (late.length > 0 || setup.killsRelay) && { halfwaySeconds: half.seconds }),
    originCopies: originBytes / sizeBytes,
    relayCopies: sumOf(relays, after, before, 'sent') / sizeBytes,
    ...(setup.killsRelay &&
      half !== undefined && { rateAfterKill: rateAfterKill(setup, samples, half.seconds) }),
    originSeconds: originSeconds(samples),
    cpuBusyShare: machine,
    cpuSeconds: { relays: cpu(relays), nodes: cpu(nodes) },
    linkUse: {
      origin: use(
        hosts.filter(({ kind }) => kind === 'origin'),
        'sent',
      ),
      relaysUp: use(relays, 'sent'),
      nodesUp: use(nodes, 'sent'),
    },
    wrongNodes,
    facts,
  };
}

function originSeconds(samples: readonly Sample[]): number {
  const all = samples.at(-1)?.fromOrigin ?? 0;
  return samples.find(({ fromOrigin }) => fromOrigin >= all * 0.995)?.seconds ?? 0;
}

/**
 * What the nodes get together over what a fluid would bring them with the relays that are left.
 * Undefined: the run was over too soon to say.
 */
function rateAfterKill(
  setup: Setup,
  samples: readonly Sample[],
  killedAt: number,
): number | undefined {
  const at = (seconds: number) =>
    samples.findLast((sample) => sample.seconds <= seconds) ?? { seconds: 0, bytes: 0 };
  const from = at(killedAt + 2);
  const to = at(Math.min(killedAt + 6, (samples.at(-1)?.seconds ?? 0) - 0.5));
  if (to.seconds <= from.seconds) return undefined;
  const rate = ((to.bytes - from.bytes) / (to.seconds - from.seconds)) * PAYLOAD_SHARE;
  const { oneCopySeconds } = boundOf({ ...setup, relays: setup.relays.slice(1) });
  return rate / ((setup.nodes.length * sizeBytesOf(setup)) / oneCopySeconds);
}

type Links = ReadonlyMap<string, LinkBytes>;

function sumOf(
  hosts: readonly Host[],
  after: Links,
  before: Links,
  direction: keyof LinkBytes,
): number {
  return hosts.reduce((sum, { name }) => {
    return sum + (after.get(name)?.[direction] ?? 0) - (before.get(name)?.[direction] ?? 0);
  }, 0);
}

/** Mbit/s down and up of each host since the line before, and in % of the link. */
function linkLine(
  seconds: number,
  hosts: readonly Host[],
  after: Links,
  before: Links,
  elapsedMs: number,
): string {
  const percent = (host: Host, direction: keyof LinkBytes, link: number) =>
    Math.round(
      (sumOf([host], after, before, direction) / ((bytesPerSecond(link) * elapsedMs) / 1000)) * 100,
    );
  const parts = hosts.map((host) => {
    const down = percent(host, 'received', host.link.down);
    const up = percent(host, 'sent', host.link.up);
    return host.kind === 'origin' ? `origin ${up}%` : `${short(host.name)} ${down}/${up}`;
  });
  return `${seconds.toFixed(0).padStart(5)} s  ${parts.join('  ')}`;
}

function short(name: string): string {
  return name.replace('relay', 'r').replace('node', 'n');
}

async function machineTimes() {
  return parseCpuTimes(await readFile('/proc/stat', 'utf8'));
}
