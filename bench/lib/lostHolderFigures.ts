/** What the runs of bench/lostHolder.ts come to. PURE. */
import type { OriginLimits } from '../../e2e/install/resources.ts';
import type { MeteredRequest } from '../../e2e/origin/origin.ts';
import { type Figure, figureOf, type Goal } from './figures.ts';
import type { Written } from './limitFigures.ts';

export type Victim = 'relay' | 'agent' | 'leader';

/** Seconds after the kill; absent: not within the run, or not asked of this victim. */
export interface Reaction {
  /** Another leader has fenced the journal. */
  readonly led?: number;
  /** The operator has heard that the container ended. */
  readonly heard?: number;
  /** The leases of the killed process count no more. */
  readonly closed?: number;
  /** Others are granted 90 % of what all had before. */
  readonly leased?: number;
  /** Begin of the first second in which the origin wrote 90 % of the limit, under another leader. */
  readonly inUse?: number;
}

export interface CrashRun {
  readonly victim: Victim;
  readonly pod: string;
  /** Its first crash: later ones have to wait before the kubelet starts the container again. */
  readonly isFirstCrash: boolean;
  /** Of the rates that were leased, what the killed process had. */
  readonly heldShare: number;
  readonly reaction: Reaction;
  /** Of the limit, by quarters of a second, from a second before the kill on. */
  readonly usedShares: readonly number[];
  /** The same of what was leased, at the begin of each quarter. */
  readonly leasedShares: readonly number[];
  /** Of the limit, from `inUse` on for three seconds. */
  readonly usedShareAfter?: number;
  /** Of the first second in use: what the process took that came in place of the killed one. */
  readonly restartedShare?: number;
  /** What the leases alive at the crash were for: the killed process's, or all when the leader was. */
  readonly aliveBytes: number;
  readonly chargedBytes: number;
  readonly originBytes: number;
  readonly maxWindowBytes: number;
  readonly peakConnections: number;
  readonly cpuBusyShare: number;
}

/** Of the limit: so much is in use when a holder's part is given on. */
export const IN_USE_SHARE = 0.9;
const GIVEN_ON_SECONDS = 3;
const SECOND_MS = 1000;

/** Begin of the first whole second, not before `fromMs`, in which so much was written. */
export function firstSecondWith(
  written: Written,
  fromMs: number,
  bytes: number,
): number | undefined {
  const first = Math.ceil(fromMs);
  const last = written.at(-1)?.[0] ?? 0;
  const at = new Map(written);
  let sum = 0;
  for (let ms = first; ms <= last; ms += 1) {
    sum += at.get(ms) ?? 0;
    if (ms - first < SECOND_MS - 1) continue;
    if (ms - first >= SECOND_MS) sum -= at.get(ms - SECOND_MS) ?? 0;
    if (sum >= bytes) return ms - SECOND_MS + 1;
  }
  return undefined;
}

/** Of what was sent between two times, the share of one address; an answer counts as sent evenly. */
export function shareOf(
  address: string,
  requests: readonly MeteredRequest[],
  fromMs: number,
  untilMs: number,
): number {
  let [its, all] = [0, 0];
  for (const { client, bytes, timeMs, firstByteMs = timeMs, endMs = untilMs } of requests) {
    const lastMs = Math.max(endMs, firstByteMs + 1);
    const within = Math.min(lastMs, untilMs) - Math.max(firstByteMs, fromMs);
    if (within <= 0) continue;
    const part = (bytes * within) / (lastMs - firstByteMs);
    all += part;
    if (client.startsWith(`${address}:`)) its += part;
  }
  return all === 0 ? 0 : its / all;
}

/** No run is left out: a kubelet that starts a container again is busy with that, too. */
export function lostHolderFigures(runs: readonly CrashRun[], limits: OriginLimits): Figure[] {
  const of = (victim: Victim) => runs.filter((run) => run.victim === victim);
  const never = { atMost: 1, judgedBy: 'everyRun' } as const;
  return [
    ...givenOn('relay', of('relay')),
    ...givenOn('agent', of('agent')),
    ...takenOver(of('leader')),
    ...overcharge('relay', of('relay')),
    ...overcharge('agent', of('agent')),
    ...overcharge('leader', of('leader')),
    figureOf(
      'highest second at the origin / maxBandwidth',
      'ratio',
      runs.map(({ maxWindowBytes }) => maxWindowBytes / limits.maxBandwidth),
      never,
    ),
    figureOf(
      'highest number of connections / maxConnections',
      'ratio',
      runs.map(({ peakConnections }) => peakConnections / limits.maxConnections),
      never,
    ),
    percentOf('processor in use', runs, ({ cpuBusyShare }) => cpuBusyShare),
  ];
}

function givenOn(victim: Victim, runs: readonly CrashRun[]): Figure[] {
  if (runs.length === 0) return [];
  const goal = { atMost: GIVEN_ON_SECONDS, judgedBy: 'everyRun' } as const;
  const first = runs.filter(({ isFirstCrash }) => isFirstCrash);
  const later = runs.filter(({ isFirstCrash }) => !isFirstCrash);
  const again = '90 % is in use again';
  return [
    percentOf(`${victim} killed: its part of what was leased`, runs, (run) => run.heldShare),
    percentOf(`${victim} killed: used in the second before`, runs, usedBefore),
    secondsUntil(`${victim}, back at once: until ${again}`, first, 'inUse', goal),
    secondsUntil(`${victim}, back later: until ${again}`, later, 'inUse', goal),
    secondsUntil(`${victim} killed: until the operator hears of it`, runs, 'heard'),
    secondsUntil(`${victim} killed: until its leases are closed`, runs, 'closed'),
    secondsUntil(`${victim} killed: until others are granted as much`, runs, 'leased'),
    percentOf(`${victim} killed: used in three seconds after`, runs, usedAfter),
    percentOf(`${victim} killed: of the first second, its successor's`, runs, successors),
  ].flat();
}

function takenOver(runs: readonly CrashRun[]): Figure[] {
  return [
    secondsUntil('leader killed: until another one leads', runs, 'led'),
    secondsUntil('leader killed: until 90 % is in use again', runs, 'inUse'),
  ].flat();
}

/** What never came counts as infinite. */
function secondsUntil(
  name: string,
  runs: readonly CrashRun[],
  part: keyof Reaction,
  goal?: Goal,
): Figure[] {
  if (runs.length === 0) return [];
  const seconds = runs.map(({ reaction }) => reaction[part] ?? Number.POSITIVE_INFINITY);
  return [figureOf(name, 's', seconds, goal)];
}

function percentOf(
  name: string,
  runs: readonly CrashRun[],
  share: (run: CrashRun) => number,
): Figure {
  return figureOf(
    name,
    '%',
    runs.map((run) => share(run) * 100),
  );
}

function usedBefore({ usedShares }: CrashRun): number {
  return usedShares.slice(0, 4).reduce((sum, share) => sum + share, 0) / 4;
}

function usedAfter({ usedShareAfter = 0 }: CrashRun): number {
  return usedShareAfter;
}

function successors({ restartedShare = 0 }: CrashRun): number {
  return restartedShare;
}

function overcharge(victim: Victim, runs: readonly CrashRun[]): Figure[] {
  if (runs.length === 0) return [];
  const over = runs.map(({ chargedBytes, originBytes }) => chargedBytes - originBytes);
  const never = (atMost: number) => ({ atMost, judgedBy: 'everyRun' }) as const;
  return [
    figureOf(`${victim} killed: charged and not taken`, 'bytes', over),
    figureOf(
      `${victim} killed: leases alive at the crash`,
      'bytes',
      runs.map(({ aliveBytes }) => aliveBytes),
    ),
    figureOf(
      `${victim} killed: charged and not taken / leases alive`,
      'ratio',
      runs.map(({ aliveBytes }, at) => (over[at] ?? 0) / aliveBytes),
      never(1),
    ),
    figureOf(
      `${victim} killed: taken and not charged`,
      'bytes',
      over.map((bytes) => Math.max(0, -bytes)),
      never(0),
    ),
  ];
}
