import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { ControlServer } from './controlServer.ts';
import type { OracleLimits } from './originOracle.ts';
import { EDITS } from './originPlan.ts';
import { pick } from './pick.ts';
import { QuotaWorld, type QuotaWorldOptions } from './quotaWorld.ts';
import type { SimulatedDatabase } from './simulatedDatabase.ts';
import type { SimulatedHolder } from './simulatedHolder.ts';

export interface QuotaVerdict {
  /** Empty when everything is as it should be. */
  readonly problems: readonly string[];
  readonly faults: ReadonlyMap<string, number>;
  readonly virtualSeconds: number;
  /** The most that was seen, as a share of each limit. */
  readonly peak: {
    readonly connections: number;
    readonly window: number;
    readonly traffic: number;
  };
  readonly originBytes: number;
  /** What has become of its journals. */
  readonly journals: Readonly<SimulatedDatabase['journals']>;
}

const MIB = 2 ** 20;
/** So long everything may go wrong. */
const FAULTS_MS = 90_000;
/** Where everything goes wrong, little is under way: some worlds have less of it, or fewer kinds. */
const CHANCES = [1, 0.3, 0.05] as const;
const KINDS = [1, 0.4, 0.15] as const;
/** Between two faults of machines, people and databases, on average: in one world, in another. */
const EACH_MS = [800, 2_500, 8_000] as const;
const PROBE_MS = 7_000;
/** Documents between two snapshots: a journal here has some hundreds in a minute. */
const SNAPSHOT_EVERY = [4, 32, 256, 1_024] as const;
/** Without faults, and once what was lost is given back, bytes come within this. */
const AGAIN_MS = 30_000;

export interface QuotaTrial {
  /** Everything else about the world follows from it. */
  readonly seed: number;
  /** Of each clock, at most. */
  readonly drift?: number;
  readonly faultsMs?: number;
}

export async function tryQuotaWorld(trial: QuotaTrial): Promise<QuotaVerdict> {
  const { seed, drift = 0.001, faultsMs = FAULTS_MS } = trial;
  const random = new SeededRandom(seed ^ 0x51_0c_e0);
  const options = optionsFrom(seed, drift, random);
  const world = new QuotaWorld(options);
  world.begin();
  const stopped = scheduleFaults(world, random, options.hasBackups ? BACKED_UP : ALL_FAULTS);
  await world.clock.run(() => world.oracle.violations.length > 0, faultsMs);
  stopped();
  world.faults.end();
  heal(world, random);
  world.restorePlan();
  await world.clock.run(() => world.oracle.violations.length > 0, world.closeAfterMs + 15_000);
  const problems = [...world.oracle.violations.slice(0, 3), ...world.problems];
  // Not sooner: what befell a machine that was frozen it hears of when it goes on.
  for (const holder of world.holders) holder.want(1e9);
  world.nextEpoch();
  const before = world.oracle.totalBytes;
  const goesOn = () => world.oracle.totalBytes > before;
  const isUnlimited = options.limits.trafficBytes === Number.POSITIVE_INFINITY;
  if (problems.length === 0 && !(await world.clock.run(goesOn, AGAIN_MS)) && isUnlimited) {
    problems.push(`nothing comes from the origin ${AGAIN_MS / 1000} s after the last fault`);
  }
  const { peak, totalBytes: originBytes } = world.oracle;
  const virtualSeconds = world.clock.now() / 1000;
  const { journals } = world.database;
  const faults = world.faults.counts;
  return { problems, faults, virtualSeconds, peak, originBytes, journals };
}

function optionsFrom(seed: number, drift: number, random: SeededRandom): QuotaWorldOptions {
  const hasStream = random.next() < 0.15;
  const closeAfterMs = Math.round(1_000 * (random.next() < 0.1 ? 150 : 2 + random.below(30)));
  // Longer than the operator's default, nothing is known of it where no Origin says so.
  const mayBeUncovered = closeAfterMs < 100_000 && random.next() < 0.5;
  const documents = pick(SNAPSHOT_EVERY, random) as number;
  const hasMarks = random.next() < 0.5;
  const hasBackups = hasMarks && random.next() < 0.5;
  return {
    seed,
    chances: pick(CHANCES, random) as number,
    drift,
    servers: 2 + random.below(2),
    relays: 1 + random.below(4),
    agents: random.below(4),
    closeAfterMs,
    hasMarks,
    hasBackups,
    snapshotEvery: { documents, entries: documents * 16, bytes: documents * 8_192 },
    latencyMs: random.next() < 0.2 ? 100 + random.next() * 200 : 2 + random.next() * 40,
    limits: someLimits(random, hasStream),
    uncovered: mayBeUncovered
      ? { ...someLimits(random, hasStream), trafficBytes: Number.POSITIVE_INFINITY }
      : undefined,
    periodEndsInMs: random.next() * 240_000 - 90_000,
    hasStream,
  };
}

function someLimits(random: SeededRandom, hasStream: boolean): OracleLimits {
  const bandwidthBytesPerSecond = Math.round(MIB * ((hasStream ? 6 : 0.5) + random.next() * 4));
  const seconds = random.next() < 0.4 ? 10 + random.next() * 60 : Number.POSITIVE_INFINITY;
  return {
    connections: 1 + random.below(8),
    bandwidthBytesPerSecond,
    trafficBytes: Math.round(bandwidthBytesPerSecond * seconds),
  };
}

/** Returns what ends them. */
function scheduleFaults(
  world: QuotaWorld,
  random: SeededRandom,
  all: readonly NamedFault[],
): () => void {
  let isOver = false;
  const eachMs = pick(EACH_MS, random) as number;
  const share = pick(KINDS, random) as number;
  const some = all.filter(() => random.next() < share);
  const kinds = some.length > 0 ? some : all;
  const next = () => {
    if (isOver) return;
    const [name, act] = pick(kinds, random) as NamedFault;
    if (act(world, random)) world.faults.count(name);
    world.clock.setTimer(random.next() * 2 * eachMs, next);
  };
  const probe = () => {
    if (isOver) return;
    world.probe();
    world.clock.setTimer(random.next() * 2 * PROBE_MS, probe);
  };
  world.clock.setTimer(4_000, next);
  world.clock.setTimer(1_000, probe);
  return () => {
    isOver = true;
  };
}

/** Everybody goes on, and somebody leads. */
function heal(world: QuotaWorld, random: SeededRandom): void {
  for (const { machine } of [...world.servers, ...world.holders]) {
    machine.thaw({ timersFirst: random.next() < 0.5 });
  }
  if (world.leader === undefined || !world.leader.machine.isAlive) world.failOver();
}

/** Whether there was something to go wrong. */
type Fault = (world: QuotaWorld, random: SeededRandom) => boolean;
type NamedFault = readonly [string, Fault];

const FAULTS: Readonly<Record<string, Fault>> = {
  failover: (world) => {
    world.failOver();
    return true;
  },
  leaderKilled: (world) => {
    world.leader?.machine.kill();
    return world.leader !== undefined;
  },
  serverKilled: (world, random) => {
    pick(world.servers, random)?.machine.kill();
    return true;
  },
  leaderFrozen: (world, random) => {
    if (world.leader === undefined) return false;
    freeze(world, world.leader, random, 20_000);
    return true;
  },
  /** Frozen, and replaced meanwhile: it wakes up as a leader of the past. */
  leaderFrozenAndReplaced: (world, random) => {
    if (world.leader === undefined) return false;
    freeze(world, world.leader, random, 30_000);
    world.clock.setTimer(random.next() * 10_000, () => world.failOver());
    return true;
  },
  databaseAway: (world, random) => {
    world.database.away(random.next() * 12_000);
    return true;
  },
  databaseAlone: (world, random) => {
    world.database.alone(random.next() * 8_000);
    return true;
  },
  primaryChanged: (world, random) => {
    const stuck = world.servers.filter(() => random.next() < 0.3);
    world.database.changePrimary(new Set(stuck.map(({ machine }) => machine)));
    return true;
  },
  statusAway: (world, random) => {
    world.statuses.away(random.next() * 8_000);
    return true;
  },
  wallClockJumped: (world, random) => {
    const server = pick(world.servers, random);
    if (server !== undefined) world.jumpWallClock(server);
    return server !== undefined;
  },
  holderKilled: (world, random) => {
    world.killHolder(random.below(world.holders.length), true);
    return true;
  },
  powerLost: (world, random) => {
    world.killHolder(random.below(world.holders.length), false);
    return true;
  },
  holderStopped: (world, random) => {
    stop(world, random.below(world.holders.length));
    return true;
  },
  holderFrozen: (world, random) => {
    freeze(world, pick(world.holders, random) as SimulatedHolder, random, 40_000);
    return true;
  },
  holderSlept: (world, random) => {
    const { machine } = pick(world.holders, random) as SimulatedHolder;
    const sleptMs = random.next() * 40_000;
    machine.freeze();
    world.clock.setTimer(sleptMs, () => machine.thaw({ timersFirst: true, sleptMs }));
    return true;
  },
  holderCutOff: (world, random) => cutOff(world, random, 'servers'),
  holderCutOffFromOrigin: (world, random) => cutOff(world, random, 'origin'),
  /** It gives up what it has open, and tells so, while the origin hears of nothing. */
  holderCutOffFromOriginAndStopped: (world, random) => {
    const at = random.below(world.holders.length);
    world.cutOff(world.holders[at] as SimulatedHolder, 'origin', 5_000 + random.next() * 20_000);
    world.clock.setTimer(random.next() * 3_000, () => stop(world, at));
    return true;
  },
  holderCutOffFromAll: (world, random) => cutOff(world, random, 'all'),
  wantChanged: (world, random) => {
    const holder = pick(world.holders, random) as SimulatedHolder;
    const rate = random.next() < 0.3 ? 0 : random.next() ** 2 * 8 * MIB;
    holder.machine.enter(() => holder.want(Math.round(rate)));
    return true;
  },
  sourceChanged: (world) => {
    world.nextEpoch();
    return true;
  },
};

const ALL_FAULTS: readonly NamedFault[] = [
  ...Object.entries(FAULTS),
  ...Object.entries(EDITS).map(
    ([name, edit]): NamedFault => [
      name,
      (world, random) => {
        const plan = edit(world.plan, random, world.wallMs());
        if (plan !== undefined) world.edit(plan);
        return plan !== undefined;
      },
    ],
  ),
];

/**
 * Of connections that are lost with a lease that the restored database lacks nobody knows, nor of
 * marks in the status of an Origin that was deleted: what the design promises without these.
 */
const LOST_OR_UNMARKED = [
  'leaderFrozen',
  'leaderFrozenAndReplaced',
  'powerLost',
  'holderFrozen',
  'holderSlept',
  'holderCutOffFromOrigin',
  'holderCutOffFromOriginAndStopped',
  'holderCutOffFromAll',
  'originDeleted',
  'originCreated',
  'entryMoved',
  'prefixSplitOff',
  'prefixGivenBack',
];
const BACKED_UP: readonly NamedFault[] = [
  ...ALL_FAULTS.filter(([name]) => !LOST_OR_UNMARKED.includes(name)),
  ['databaseRestored', restoreDatabase],
  [
    'databaseRestoredAndLeaderReplaced',
    (world, random) => {
      if (!restoreDatabase(world, random)) return false;
      world.failOver();
      return true;
    },
  ],
];

function restoreDatabase(world: QuotaWorld, random: SeededRandom): boolean {
  return world.restoreDatabase(random.next() < 0.5 ? 0 : random.next() * 20_000);
}

function stop(world: QuotaWorld, at: number): void {
  const holder = world.holders[at] as SimulatedHolder;
  holder.machine.enter(() => holder.stop());
  world.clock.setTimer(3_000, () => world.killHolder(at, true));
}

function cutOff(
  world: QuotaWorld,
  random: SeededRandom,
  from: Parameters<QuotaWorld['cutOff']>[1],
): true {
  world.cutOff(pick(world.holders, random) as SimulatedHolder, from, random.next() * 25_000);
  return true;
}

function freeze(
  world: QuotaWorld,
  { machine }: ControlServer | SimulatedHolder,
  random: SeededRandom,
  longestMs: number,
): void {
  machine.freeze();
  const timersFirst = random.next() < 0.5;
  world.clock.setTimer(random.next() * longestMs, () => machine.thaw({ timersFirst }));
}
