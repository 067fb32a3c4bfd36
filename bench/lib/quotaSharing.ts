/** How an origin's limit is shared and used, on a virtual clock, by the operator's own lease service. */
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { LeaseService } from '@sluice/operator/quota/leaseService.ts';
import { LeasedHolders } from '@sluice/operator/testing/leasedHolders.ts';
import { aLeasedDistribution } from '@sluice/operator/testing/leasing.ts';
import { MemoryJournal } from '@sluice/operator/testing/memoryJournal.ts';
import { VirtualHolder } from './virtualHolders.ts';

const MB = 1_000_000;
const HOST = 'cdn.example.com';
const MIB = 1024 * 1024;
/** More than any share: who wants less than his share would have what he wants. */
const WANT_BYTES_PER_SECOND = 1_250 * MB;

interface World {
  readonly clock: VirtualClock;
  readonly leases: LeaseService;
  readonly holders: Map<string, VirtualHolder>;
  join(name: string, uid: string, wantConnections: number): VirtualHolder;
}

interface WorldOptions {
  readonly maxConnections: number;
  readonly maxBandwidthBytesPerSecond: number;
  readonly timeToFirstByteMs: number;
  /** Of each file: none comes to its end. */
  readonly pieceCount: number;
  readonly pieceLengthBytes: number;
  /** One distribution for each. */
  readonly priorities: readonly number[];
}

function newWorld(options: WorldOptions): World {
  const { maxConnections, maxBandwidthBytesPerSecond, timeToFirstByteMs } = options;
  const { pieceCount, pieceLengthBytes, priorities } = options;
  const clock = new VirtualClock();
  const leases = new LeaseService(
    { defaultLimits: { maxConnections, maxBandwidthBytesPerSecond }, requireOrigin: false },
    {
      store: new MemoryJournal(),
      clock,
      random: new SeededRandom(1),
      wallClock: () => 1e12 + clock.now(),
      onLost: (error) => {
        throw error;
      },
      onBroken: (error) => {
        throw error;
      },
      onRetry: () => {},
    },
  );
  const holders = new Map<string, VirtualHolder>();
  leases.onAsk((name) => holders.get(name)?.askNow());
  leases.setOrigins([]);
  for (const [at, priority] of priorities.entries()) {
    const url = `http://${HOST}/${at}`;
    const size = { pieceCount, pieceLengthBytes };
    const files = [{ path: 'file', sizeBytes: pieceCount * pieceLengthBytes }];
    leases.setDistribution(
      aLeasedDistribution({ uid: `uid-${at}`, url, priority, files, ...size }),
    );
  }
  leases.lead(1);
  const join = (name: string, uid: string, wantConnections: number) => {
    const holder = new VirtualHolder(
      {
        name,
        uid,
        pieceLengthBytes,
        wantRateBytesPerSecond: WANT_BYTES_PER_SECOND,
        wantConnections,
        timeToFirstByteMs,
      },
      { clock, leases },
    );
    holders.set(name, holder);
    holder.start();
    return holder;
  };
  return { clock, leases, holders, join };
}

export interface FairnessRun {
  readonly holders: number;
  /** Jain's index over bytes / weight: 1 when all are equal, 1 / n when one has everything. */
  readonly jain: number;
  /** Of the first 60 s, in which whoever asks first has everything at first. */
  readonly jainFromStart: number;
  readonly least: number;
  readonly most: number;
  readonly usedShare: number;
}

const FAIR_HOLDERS = 1_000;
const FAIR_MS = 60_000;
const SETTLED_MS = 10_000;
const FAIR_LIMIT = 1_000 * MB;

/** A thousand holders of a hundred distributions, with the weights that their priorities give. */
export async function fairnessRun(weights: 'equal' | 'priorities'): Promise<FairnessRun> {
  const priorities = Array.from({ length: 100 }, (_, at) => (weights === 'equal' ? 0 : at % 4));
  const world = newWorld({
    maxConnections: 4 * FAIR_HOLDERS,
    maxBandwidthBytesPerSecond: FAIR_LIMIT,
    timeToFirstByteMs: 10,
    pieceCount: 2_048,
    pieceLengthBytes: MIB,
    priorities,
  });
  const all = Array.from({ length: FAIR_HOLDERS }, (_, at) => {
    const distribution = at % priorities.length;
    const holder = world.join(`holder-${at}`, `uid-${distribution}`, 4);
    return { holder, weight: 1 + (priorities[distribution] ?? 0) };
  });
  const shares = (before: readonly number[]) =>
    all.map(({ holder, weight }, at) => (holder.count() - (before[at] ?? 0)) / weight);
  await world.clock.run(() => false, SETTLED_MS);
  const settled = all.map(({ holder }) => holder.count());
  await world.clock.run(() => false, FAIR_MS - SETTLED_MS);
  const fromStart = shares([]);
  await world.clock.run(() => false, SETTLED_MS);
  const bytes = shares(settled);
  const mean = bytes.reduce((sum, each) => sum + each, 0) / bytes.length;
  const total = all.reduce((sum, { holder }) => sum + holder.count(), 0);
  const before = settled.reduce((sum, each) => sum + each, 0);
  world.leases.stepDown();
  return {
    holders: FAIR_HOLDERS,
    jain: jainOf(bytes),
    jainFromStart: jainOf(fromStart),
    least: Math.min(...bytes) / mean,
    most: Math.max(...bytes) / mean,
    usedShare: ((total - before) * 1000) / FAIR_MS / FAIR_LIMIT,
  };
}

export function jainOf(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + value, 0);
  const squares = values.reduce((total, value) => total + value * value, 0);
  return (sum * sum) / (values.length * squares);
}

export interface ChurnRun {
  readonly holders: number;
  /** Of the limit. */
  readonly usedShare: number;
  readonly worstSecondShare: number;
  readonly joined: number;
}

const CHURN_MS = 60_000;
const CHURN_LIMIT = 100 * MB;
const CONNECTIONS = 4;
const STAY_MS = 10_000;
const TIME_TO_FIRST_BYTE_MS = 20;

/**
 * So many holders at once, with the lease loops and pullers of relays; each stays ten seconds,
 * settles and is gone, and another one comes, not at the same moment but up to a second later. What
 * they take is judged by the origin's meter.
 */
export async function churnRun(holders: number, seed: number): Promise<ChurnRun> {
  const clock = new VirtualClock();
  const random = new SeededRandom(seed);
  const all = new LeasedHolders(
    {
      limitBytesPerSecond: CHURN_LIMIT,
      connections: CONNECTIONS * holders,
      origin: { timeToFirstByteMs: TIME_TO_FIRST_BYTE_MS },
      forMs: STAY_MS + CHURN_MS,
    },
    clock,
    () => random.next(),
  );
  let joined = 0;
  const come = (stayMs: number) => {
    joined += 1;
    const leave = all.join(`holder-${joined}`, CONNECTIONS);
    clock.setTimer(stayMs, () => {
      leave();
      clock.setTimer(random.next() * 1_000, () => come(STAY_MS));
    });
  };
  for (let at = 0; at < holders; at += 1) come(STAY_MS + (at * STAY_MS) / holders);
  await clock.run(() => false, STAY_MS + CHURN_MS);
  all.stop();
  const usedShare = all.usedShare(STAY_MS, STAY_MS + CHURN_MS);
  return { holders, usedShare, worstSecondShare: all.worstSecondShare(), joined };
}
