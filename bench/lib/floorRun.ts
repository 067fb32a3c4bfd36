/** One run of bench/floor.ts: an episode in the middle of a transfer, and how long the floor was missed. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuBusyShare, parseCpuTimes } from '../../e2e/demo/cpu.ts';
import type { Episode } from './floorEpisodes.ts';
import { PAYLOAD_SHARE } from './fluidBound.ts';
import { type Host, readLinks } from './links.ts';
import { withRig, wrongFiles } from './rig.ts';
import { type Setup, sizeBytesOf } from './setups.ts';
import { sluice } from './sluice.ts';
import type { Facts, Rig, RunningSystem } from './system.ts';
import { type RateAt, type ReceivedAt, ratesFrom, secondsUnder } from './windows.ts';

export interface FloorRun {
  readonly episode: string;
  /** From the start signal until the last node had the file. */
  readonly seconds: number;
  readonly episodeAtSeconds: number;
  /** By node: seconds after the episode's begin in which the second before was under the floor. */
  readonly underSeconds: Readonly<Record<string, number>>;
  /** By node, from the episode's begin. */
  readonly rates: Readonly<Record<string, readonly RateAt[]>>;
  readonly originCopies: number;
  readonly cpuBusyShare: number;
  readonly wrongNodes: readonly string[];
  readonly facts: Facts;
  readonly leftOut?: string;
}

const POLL_MS = 50;
/** The relay has pulled the whole file by then, and no node has half of it. */
const EPISODE_AT_MS = 8_000;
const TIMEOUT_SECONDS = 180;

export function floorRun(
  setup: Setup,
  episode: Episode,
  floorBytesPerSecond: number,
  signal: AbortSignal,
): Promise<FloorRun> {
  const doneAtMs = new Map<string, number>();
  const done = ({ name }: Host) => doneAtMs.set(name, performance.now());
  return withRig(setup, sluice, { signal, done }, (rig, running) =>
    measure(rig, running, episode, doneAtMs, floorBytesPerSecond),
  );
}

async function measure(
  rig: Rig,
  running: RunningSystem,
  episode: Episode,
  doneAtMs: ReadonlyMap<string, number>,
  floorBytesPerSecond: number,
): Promise<FloorRun> {
  const { setup, nodes, origin, signal } = rig;
  const originBefore = await origin.sentBytes();
  const received = new Map(nodes.map(({ name }) => [name, [] as ReceivedAt[]]));
  const machineBefore = await machineTimes();
  const beganAtMs = performance.now();
  running.begin(nodes);
  let episodeAtMs: number | undefined;
  while (doneAtMs.size < nodes.length) {
    await sleep(POLL_MS, undefined, { signal });
    running.check();
    const nowMs = performance.now();
    if (nowMs - beganAtMs > TIMEOUT_SECONDS * 1000) throw new Error('the nodes are not done');
    const links = readLinks();
    for (const { name } of nodes) {
      // Without the control server's word: it is some hundred bytes a second.
      const bytes = (links.get(name)?.received ?? 0) * PAYLOAD_SHARE;
      received.get(name)?.push({ atMs: nowMs, bytes });
    }
    if (episodeAtMs === undefined && nowMs - beganAtMs >= EPISODE_AT_MS) {
      if (doneAtMs.size > 0) throw new Error('a node is done before the episode: a larger file');
      episodeAtMs = nowMs;
      await episode.begin(rig, running);
    }
  }
  const began = episodeAtMs ?? Number.NaN;
  const ofNodes = <T>(figure: (samples: readonly ReceivedAt[], until: number) => T) =>
    Object.fromEntries(
      nodes.map(({ name }) => {
        return [name, figure(received.get(name) ?? [], doneAtMs.get(name) ?? began)];
      }),
    );
  const facts = running.facts();
  return {
    episode: episode.name,
    seconds: (Math.max(...doneAtMs.values()) - beganAtMs) / 1000,
    episodeAtSeconds: (began - beganAtMs) / 1000,
    underSeconds: ofNodes((samples, until) =>
      secondsUnder(samples, floorBytesPerSecond, began, until),
    ),
    rates: ofNodes((samples, until) => ratesFrom(samples, began, until)),
    originCopies: ((await origin.sentBytes()) - originBefore) / sizeBytesOf(setup),
    cpuBusyShare: cpuBusyShare(machineBefore, await machineTimes()),
    wrongNodes: await wrongFiles(rig, running),
    facts,
  };
}

async function machineTimes() {
  return parseCpuTimes(await readFile('/proc/stat', 'utf8'));
}
