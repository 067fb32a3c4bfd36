/** One run of bench/lostHolder.ts: two pull, a process is killed, and the origin is watched. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LeaseRecord, type Ledger, maxBytesOf } from '@sluice/operator/quota/ledger.ts';
import { type CpuTimes, cpuBusyShare, parseCpuTimes } from '../../e2e/demo/cpu.ts';
import { killPod } from '../../e2e/install/processes.ts';
import { distributionResource, type OriginLimits } from '../../e2e/install/resources.ts';
import { NAMESPACE, type Pod, type Sluice } from '../../e2e/install/sluice.ts';
import type { MeterStats } from '../../e2e/origin/origin.ts';
import { rateBetween } from './limitFigures.ts';
import {
  type CrashRun,
  firstSecondWith,
  IN_USE_SHARE,
  type Reaction,
  shareOf,
  type Victim,
} from './lostHolderFigures.ts';
import type { JournalWatch } from './lostHolderJournal.ts';

export interface Stage {
  readonly sluice: Sluice;
  readonly journal: JournalWatch;
  readonly limits: OriginLimits;
  readonly signal: AbortSignal;
}

interface Crash {
  readonly victim: Victim;
  readonly pod: Pod;
  readonly isFirst: boolean;
  /** Unix milliseconds, a moment after the signal. */
  readonly atMs: number;
  readonly before: Ledger;
  /** Of the killed process, or all when the leader was killed. */
  readonly alive: readonly LeaseRecord[];
}

/** At 8 MiB/s it is under way for longer than a run. */
const FILE_BYTES = 512 * 1024 * 1024;
/** The meter's whole record is read each time. */
const POLL_MS = 500;
/** Stand-ins begin after 30 s. */
const SHARED_TIMEOUT_MS = 120_000;
/** Of what is leased: with less it is not about half of the limit. */
const LEAST_PART = 0.4;
/** The operator takes the news of a container for an older one's while a session is younger. */
const HELD_FOR_MS = 11_000;
const STEADY_MS = 2_000;
const AFTER_MS = 3_000;
/** From a second before the crash on, eight in all. */
const STEP_MS = 250;
const STEPS = 32;
/** A lease that nobody closes lives 10 s, a connection 5 s more; the next leader takes 20 s. */
const RECOVERY_TIMEOUT_MS = 30_000;
const SETTLED_TIMEOUT_MS = 90_000;

/** `turn`: those who pull are killed by turns. */
export async function crashRun(
  stage: Stage,
  victim: Victim,
  name: string,
  turn: number,
): Promise<CrashRun> {
  const { sluice } = stage;
  const { origin } = sluice.cluster;
  const chargedBefore = await untilSettled(stage);
  const content = { sizeBytes: FILE_BYTES, seed: `${name} ${Date.now()}` };
  const file = await origin.putFile(`${name}.bin`, content);
  await origin.reset();
  const { url, sha256 } = file;
  await sluice.apply(distributionResource({ name, url, sha256 }));
  await untilShared(stage);
  const cpuBefore = await cpuTimes();
  const crash = await crashNow(stage, victim, turn);
  await untilGivenOn(stage, crash);
  const cpuAfter = await cpuTimes();
  await sluice.remove(name);
  const chargedBytes = (await untilSettled(stage)) - chargedBefore;
  const stats = await origin.stats();
  await origin.remove(file.name);
  return {
    victim,
    pod: crash.pod.name,
    isFirstCrash: crash.isFirst,
    heldShare: partOf(crash.alive, crash.before),
    ...(await useAround(stage, crash, stats)),
    aliveBytes: crash.alive.reduce((sum, lease) => sum + maxBytesOf(lease), 0),
    chargedBytes,
    originBytes: stats.bytesTotal,
    maxWindowBytes: stats.maxOneSecondWindowBytes,
    peakConnections: stats.connections.peak,
    cpuBusyShare: cpuBusyShare(cpuBefore, cpuAfter),
  };
}

/** Two processes, known for long enough, have had about half of what is leased for a while. */
async function untilShared({ sluice, journal, limits, signal }: Stage): Promise<void> {
  let sinceMs: number | undefined;
  const isSteady = async () => {
    signal.throwIfAborted();
    const ledger = await journal.now();
    const nowMs = Date.now();
    const shared = isShared(ledger) && holdersOf(ledger).every((each) => isKnown(journal, each));
    sinceMs = shared ? (sinceMs ?? nowMs) : undefined;
    if (sinceMs === undefined || nowMs - sinceMs < STEADY_MS) return undefined;
    const { perMillisecond } = await sluice.cluster.origin.stats();
    const used = rateBetween(perMillisecond, nowMs - 1000, nowMs) / limits.maxBandwidth;
    return used >= IN_USE_SHARE || undefined;
  };
  await sluice.until('two that share the limit', isSteady, SHARED_TIMEOUT_MS);
}

function isShared(ledger: Ledger): boolean {
  const holders = holdersOf(ledger);
  const parts = holders.map((holder) => partOf(leasesOf(ledger, holder), ledger));
  return holders.length === 2 && parts.every((part) => part >= LEAST_PART);
}

function isKnown(journal: JournalWatch, holder: string): boolean {
  const nowMs = Date.now();
  const [first] = journal.since(0).filter(({ ledger }) => leasesOf(ledger, holder).length > 0);
  return first !== undefined && nowMs - first.atMs >= HELD_FOR_MS;
}

async function crashNow(stage: Stage, victim: Victim, turn: number): Promise<Crash> {
  const { sluice, journal } = stage;
  const before = await journal.now();
  const pod = await podToKill(stage, victim, turn);
  const isFirst = (await saidOf(stage, pod, '.status.containerStatuses[0].restartCount')) === '0';
  await killPod(sluice.cluster, pod);
  const atMs = Date.now();
  // What was granted until the kill is durable by now.
  const ledger = await journal.now();
  const alive = [...ledger.leases.values()].filter(
    ({ holder, settled }) => !settled && (victim === 'leader' || isOf(holder, pod)),
  );
  if (alive.length === 0) throw new Error(`${pod.name} had no lease when it was killed`);
  return { victim, pod, isFirst, atMs, before, alive };
}

async function podToKill({ sluice, journal }: Stage, victim: Victim, turn: number): Promise<Pod> {
  if (victim === 'leader') {
    const leader = await sluice.leader();
    if (leader === undefined) throw new Error('no operator leads');
    return leader;
  }
  const holders = holdersOf(await journal.now());
  const pods = (await sluice.pods(victim))
    .filter((pod) => holders.some((holder) => isOf(holder, pod)))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const pod = pods[turn % pods.length];
  if (pod === undefined) throw new Error(`no ${victim} pulls`);
  return pod;
}

/** Until the limit is in use again and the leases of the killed process are closed, or too long. */
async function untilGivenOn(stage: Stage, crash: Crash): Promise<void> {
  const { sluice, signal } = stage;
  const isGivenOn = async () => {
    const reaction = await reactionTo(stage, crash, await sluice.cluster.origin.stats());
    const { inUse, closed, led } = reaction;
    const isOver = (closed ?? led) !== undefined;
    return isOver && inUse !== undefined && Date.now() >= crash.atMs + inUse * 1000 + AFTER_MS;
  };
  const giveUpAtMs = crash.atMs + RECOVERY_TIMEOUT_MS;
  while (Date.now() < giveUpAtMs && !(await isGivenOn())) {
    await sleep(POLL_MS, undefined, { signal });
  }
}

type Around = 'reaction' | 'usedShares' | 'leasedShares' | 'usedShareAfter' | 'restartedShare';

async function useAround(
  stage: Stage,
  crash: Crash,
  stats: MeterStats,
): Promise<Pick<CrashRun, Around>> {
  const { victim, pod, atMs } = crash;
  const limit = stage.limits.maxBandwidth;
  const used = (fromMs: number, untilMs: number) =>
    rateBetween(stats.perMillisecond, fromMs, untilMs) / limit;
  const heard = await heardAtMs(stage, crash);
  const reaction = {
    ...secondsAfter(atMs, { heard }),
    ...(await reactionTo(stage, crash, stats)),
  };
  const steps = Array.from({ length: STEPS }, (_, at) => atMs - 1000 + at * STEP_MS);
  const shares = {
    usedShares: steps.map((fromMs) => Number(used(fromMs, fromMs + STEP_MS).toFixed(3))),
    leasedShares: steps.map((ms) => {
      const [at] = stage.journal.since(ms);
      return Number((rateOf(at?.ledger.leases.values() ?? []) / limit).toFixed(3));
    }),
  };
  if (victim === 'leader' || reaction.inUse === undefined) return { reaction, ...shares };
  const fromMs = atMs + reaction.inUse * 1000;
  // Its successor has it, too.
  const address = await saidOf(stage, pod, '.status.podIP');
  return {
    reaction,
    ...shares,
    usedShareAfter: used(fromMs, fromMs + AFTER_MS),
    restartedShare: shareOf(address, stats.requests, fromMs, fromMs + 1000),
  };
}

async function reactionTo(
  { journal, limits }: Stage,
  { victim, atMs, before, alive }: Crash,
  { perMillisecond }: MeterStats,
): Promise<Reaction> {
  await journal.now();
  const later = journal.since(atMs);
  const first = (is: (ledger: Ledger) => boolean) => later.find(({ ledger }) => is(ledger))?.atMs;
  if (victim === 'leader') {
    const next = first(({ term }) => term > before.term);
    const again = next && firstSecondWith(perMillisecond, next, limits.maxBandwidth * IN_USE_SHARE);
    return secondsAfter(atMs, { led: next, inUse: again });
  }
  const ids = alive.map(({ leaseId }) => leaseId);
  const had = rateOf(before.leases.values());
  return secondsAfter(atMs, {
    closed: first(({ leases }) => ids.every((id) => leases.get(id) === undefined)),
    leased: first(({ leases }) => {
      const others = [...leases.values()].filter(({ leaseId }) => !ids.includes(leaseId));
      return rateOf(others) >= had * IN_USE_SHARE;
    }),
    inUse: firstSecondWith(perMillisecond, atMs, limits.maxBandwidth * IN_USE_SHARE),
  });
}

function secondsAfter(atMs: number, times: Record<string, number | undefined>): Reaction {
  const known = Object.entries(times).filter(([, ms]) => ms !== undefined);
  return Object.fromEntries(known.map(([what, ms]) => [what, ((ms ?? 0) - atMs) / 1000]));
}

/** As the leader's log says. */
async function heardAtMs({ sluice }: Stage, { pod, atMs }: Crash): Promise<number | undefined> {
  const selector = 'app.kubernetes.io/name=sluice,app.kubernetes.io/component=operator';
  const since = `--since-time=${new Date(atMs).toISOString()}`;
  const args = ['logs', '-n', NAMESPACE, '-l', selector, since, '--tail=-1'];
  const lines = (await sluice.cluster.kubectl(args)).split('\n').filter(Boolean);
  const said = lines
    .map((line) => JSON.parse(line) as { message: string; pod?: string; timestamp: string })
    .find((each) => each.message === 'a process has ended' && each.pod === pod.name);
  return said && Date.parse(said.timestamp);
}

async function saidOf({ sluice }: Stage, { name }: Pod, path: string): Promise<string> {
  return sluice.cluster.kubectl(['get', 'pod', name, '-n', NAMESPACE, '-o', `jsonpath={${path}}`]);
}

/** When no lease is open any more: what is charged of the period then. */
async function untilSettled({ sluice, journal }: Stage): Promise<number> {
  const charged = async () => {
    const { leases, settledBytes } = await journal.now();
    return leases.size === 0 ? { settledBytes } : undefined;
  };
  const what = 'a journal without open leases';
  return (await sluice.until(what, charged, SETTLED_TIMEOUT_MS)).settledBytes;
}

/** Those who pull. */
function holdersOf({ leases }: Ledger): string[] {
  const pulls = [...leases.values()].filter(({ epoch, expired }) => epoch > 0 && !expired);
  return [...new Set(pulls.map(({ holder }) => holder))];
}

function leasesOf({ leases }: Ledger, holder: string): LeaseRecord[] {
  return [...leases.values()].filter((lease) => lease.holder === holder);
}

/** Pod uid and incarnation name a holder. */
function isOf(holder: string, { uid }: Pod): boolean {
  return holder.startsWith(`${uid}.`);
}

/** Of the rates that are leased. */
function partOf(leases: Iterable<LeaseRecord>, ledger: Ledger): number {
  return rateOf(leases) / rateOf(ledger.leases.values());
}

function rateOf(leases: Iterable<LeaseRecord>): number {
  let rate = 0;
  for (const { expired, versions } of leases) {
    if (!expired) rate += versions.at(-1)?.rateBytesPerSecond ?? 0;
  }
  return rate;
}

/** Without what runs only while nothing else would. */
async function cpuTimes(): Promise<CpuTimes> {
  const stat = await readFile('/proc/stat', 'utf8');
  const { busy, total } = parseCpuTimes(stat);
  const nice = Number(stat.split(/\s+/)[2]);
  return { busy: busy - nice, total };
}
