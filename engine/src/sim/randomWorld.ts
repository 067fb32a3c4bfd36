import { type Draw, FAULTS_MS, type Fault } from './fault.ts';
import { flipped, isPayload } from './mutation.ts';
import type { SimulatedHost } from './network.ts';
import { furtherFaults, varied } from './randomVariety.ts';
import { SeededRandom } from './seededRandom.ts';
import type { OriginConduct } from './simulatedOrigin.ts';
import {
  BITTORRENT_PORT,
  type SimulatedPeer,
  SwarmWorld,
  type WorldOptions,
} from './swarmWorld.ts';

const MBIT_BYTES = 125_000;
const PIECE_BYTES = 262_144;
/** Nodes that a fault stopped are back after this. */
const MAX_DOWN_MS = 5_000;
/**
 * Bytes per second: ten nodes with three requests each at it get 8 KB/s by each. A connection that
 * brings under 2 KB/s is left (swarm/conduct.ts), and where all are like that nothing gets anywhere.
 */
const SLOWEST_RELAY = 250_000;
const LATE_SHARE = 0.3;
/** What is mixed into the seed of the second row of random numbers. */
const MORE = 0x5bd1e995;
/** For so long an origin misbehaves, or a limit of the user's is another one, at most. */
const MAX_CHANGE_MS = 10_000;
/** More than the slowest world needs by far: who is not done by then never will be. */
const MAX_SECONDS = 900;

export interface RandomWorldOptions {
  /** One file of whole pieces from an origin with ranges, and nothing on any disk; as ever. */
  readonly isPlain?: boolean;
}

/** What came of one world; empty when everything is as it should be. */
export interface WorldVerdict {
  readonly problems: readonly string[];
  readonly virtualSeconds: number;
  readonly faults: readonly string[];
  /** What its nodes received and did not need, as a share of what they have. */
  readonly duplicateShare: number;
}

/** Everything about it follows from the seed: sizes, rates, delays, disks, and what goes wrong. */
export async function tryRandomWorld(
  seed: number,
  { isPlain = false }: RandomWorldOptions = {},
): Promise<WorldVerdict> {
  const random = new SeededRandom(seed);
  const plain = optionsFrom(seed, random);
  // Of its own: with and without it the rest is the same.
  const more = new SeededRandom(seed ^ MORE);
  const world = new SwarmWorld(isPlain ? plain : varied(plain, more));
  const { early, faults, liars } = storyOf(world, random);
  if (!isPlain) faults.push(...furtherFaults(world, more, early));
  for (const { atMs, act } of faults) world.clock.setTimer(atMs, () => act());
  await world.begin(early);
  // A node that is down counts as done: not before all are back.
  await world.pass((FAULTS_MS + MAX_DOWN_MS) / 1000);
  // Nobody owes a liar anything.
  const honest = world.nodes.filter((node) => !liars.has(node));
  const isDone = await world.run(MAX_SECONDS, honest);
  const problems = isDone ? [] : [`not done after ${MAX_SECONDS} s: ${unfinished(world, honest)}`];
  problems.push(...wrongIn(world));
  const duplicateShare =
    world.duplicateBytes() / (world.file.bytes.byteLength * world.nodes.length);
  await world.stop();
  const virtualSeconds = world.clock.now() / 1000;
  const told = faults.map(({ name, atMs }) => `${name} ${atMs}`);
  return { problems, virtualSeconds, faults: told, duplicateShare };
}

function optionsFrom(seed: number, random: SeededRandom): WorldOptions {
  const between = (low: number, high: number) => low + random.next() * (high - low);
  const link = () => ({
    upRate: between(5, 200) * MBIT_BYTES,
    downRate: between(20, 200) * MBIT_BYTES,
  });
  const many = (low: number, high: number) =>
    Array.from({ length: low + random.below(high - low + 1) }, link);
  const hasFloor = random.next() < 0.5;
  return {
    seed,
    pieceCount: 8 + random.below(60),
    pieceLengthBytes: PIECE_BYTES,
    originRate: between(20, 200) * MBIT_BYTES,
    relays: many(1, 3),
    nodes: many(1, 10),
    delayMs: between(0.1, 25),
    disk: { bytesPerSecond: between(5, 500) * 1_000_000 },
    topUp: {
      sources: random.next() < 0.8 ? ['relay'] : [],
      isCarried: false,
      ...(hasFloor && { minRate: between(1, 10) * 1_000_000 }),
    },
  };
}

interface Story {
  /** Nodes that are there from the beginning: with the others nothing but their links goes wrong. */
  readonly early: readonly SimulatedPeer[];
  readonly faults: Fault[];
  /** Nodes that send wrong bytes from some time on. */
  readonly liars: ReadonlySet<SimulatedPeer>;
}

function storyOf(world: SwarmWorld, random: SeededRandom): Story {
  const { nodes } = world;
  const lateCount = random.next() < LATE_SHARE ? random.below(nodes.length) : 0;
  const early = nodes.slice(0, nodes.length - lateCount);
  const faults: Fault[] = [];
  if (lateCount > 0) faults.push(join(world, nodes.slice(early.length), random.below(FAULTS_MS)));
  const liars = new Set<SimulatedPeer>();
  const kinds: readonly Draw[] = [
    killRelay,
    restartNode,
    losePower,
    blockBitTorrent,
    partition,
    slowLink,
    badOrigin,
    changeRates,
    lie(liars),
  ];
  for (let left = random.below(5); left > 0; left -= 1) {
    const draw = random.pick(kinds);
    faults.push(draw(world, random, random.below(FAULTS_MS), early));
  }
  return { early, faults, liars };
}

function join(world: SwarmWorld, late: readonly SimulatedPeer[], atMs: number): Fault {
  const names = late.map(({ name }) => name).join(' ');
  return { name: `join ${names}`, atMs, act: () => world.begin(late) };
}

/** Never the last one: without a relay nobody pulls here. */
function killRelay(world: SwarmWorld, random: SeededRandom, atMs: number): Fault {
  const victim = random.pick(world.relays);
  return {
    name: `kill ${victim.name}`,
    atMs,
    act: async () => {
      const alive = world.relays.filter(({ host }) => host.isAlive);
      if (alive.length > 1 && victim.host.isAlive) await world.kill(victim);
    },
  };
}

const restartNode: Draw = (world, random, atMs, nodes) =>
  restarting(world, random, atMs, 'restart', random.pick(nodes));

/** What was not synced is gone from its disk when it comes back. */
const losePower: Draw = (world, random, atMs, nodes) => {
  const victim = random.pick(nodes);
  return restarting(world, random, atMs, 'power off', victim, () => victim.store.losePower());
};

function restarting(
  world: SwarmWorld,
  random: SeededRandom,
  atMs: number,
  what: string,
  victim: SimulatedPeer,
  whenDown = () => {},
): Fault {
  const downMs = random.below(MAX_DOWN_MS);
  return {
    name: `${what} ${victim.name}`,
    atMs,
    act: async () => {
      if (!victim.host.isAlive) return;
      await world.kill(victim);
      whenDown();
      world.clock.setTimer(downMs, () => world.restart(victim));
    },
  };
}

/** For a while; that it has another version would end the epoch, which is another story. */
const badOrigin: Draw = (world, random, atMs) => {
  const conducts: readonly OriginConduct[] = [
    { kind: 'silent' },
    { kind: 'status', status: 503 },
    { kind: 'liesAboutRange' },
    { kind: 'stalls', afterBytes: random.below(PIECE_BYTES) },
    { kind: 'short', missingBytes: 1 + random.below(PIECE_BYTES) },
  ];
  const conduct = random.pick(conducts);
  const healMs = random.below(MAX_CHANGE_MS);
  return {
    name: `origin ${conduct.kind}`,
    atMs,
    act: () => {
      world.originConduct = conduct;
      world.clock.setTimer(healMs, () => {
        world.originConduct = { kind: 'good' };
      });
    },
  };
};

/** As a user edits them, up and down. */
const changeRates: Draw = (world, random, atMs, nodes) => {
  const rate = () => (random.next() < 0.5 ? undefined : 200_000 + random.below(5_000_000));
  const changed = { maxRate: rate(), maxUploadRate: rate() };
  const liftMs = random.below(MAX_CHANGE_MS);
  const setAll = (rates: typeof changed) => {
    for (const { transfer } of nodes) transfer.setRates(rates);
  };
  return {
    name: `rates ${changed.maxRate} ${changed.maxUploadRate}`,
    atMs,
    act: () => {
      setAll(changed);
      world.clock.setTimer(liftMs, () => setAll({ maxRate: undefined, maxUploadRate: undefined }));
    },
  };
};

/** One bit of every block that it gives is wrong from now on. Never the only node, and one at most. */
function lie(liars: Set<SimulatedPeer>): Draw {
  return (world, random, atMs, nodes) => {
    const liar = random.pick(nodes);
    if (nodes.length < 2 || liars.size > 0) return { name: 'nobody lies', atMs, act: () => {} };
    liars.add(liar);
    return {
      name: `${liar.name} lies`,
      atMs,
      act: () =>
        world.tamper((from, bytes) =>
          from === liar.name && isPayload(bytes) ? flipped(bytes) : bytes,
        ),
    };
  };
}

const blockBitTorrent: Draw = (world, random, atMs, nodes) => {
  const victim = random.pick(nodes).host;
  const isMeant = (from: SimulatedHost, to: SimulatedHost, port: number) =>
    port === BITTORRENT_PORT && (from === victim || to === victim);
  return cutting(world, random, `block ${victim.name}`, atMs, isMeant);
};

/** Half of the nodes see only each other. */
function partition(world: SwarmWorld, random: SeededRandom, atMs: number): Fault {
  const apart = new Set(world.nodes.filter(() => random.next() < 0.5).map(({ host }) => host));
  const isMeant = (from: SimulatedHost, to: SimulatedHost) => apart.has(from) !== apart.has(to);
  return cutting(world, random, 'partition', atMs, isMeant);
}

function cutting(
  world: SwarmWorld,
  random: SeededRandom,
  name: string,
  atMs: number,
  isMeant: (from: SimulatedHost, to: SimulatedHost, port: number) => boolean,
): Fault {
  const healMs = random.below(20_000);
  return {
    name,
    atMs,
    act: () => {
      const heal = world.network.cut(isMeant);
      world.clock.setTimer(healMs, heal);
    },
  };
}

function slowLink(world: SwarmWorld, random: SeededRandom, atMs: number): Fault {
  const { host, role } = random.pick([...world.nodes, ...world.relays]);
  const least = role === 'relay' ? SLOWEST_RELAY : 0;
  const slowed = (rate: number) => Math.max(least, rate / 10);
  return {
    name: `slow ${host.name}`,
    atMs,
    act: () => {
      const { upRate, downRate } = host.rates;
      host.rates = { upRate: slowed(upRate), downRate: slowed(downRate) };
    },
  };
}

function unfinished(world: SwarmWorld, nodes: readonly SimulatedPeer[]): string {
  return nodes
    .filter(({ doneAtMs }) => doneAtMs === undefined)
    .map(({ name, store }) => `${name} has ${store.keptCount} of ${world.file.layout.pieceCount}`)
    .join(', ');
}

/** What no fault may bring about. */
export function wrongIn(world: SwarmWorld): string[] {
  return [...world.relays, ...world.nodes].flatMap((peer) => wrongAt(world, peer));
}

function wrongAt({ file }: SwarmWorld, { name, store, failure }: SimulatedPeer): string[] {
  const problems: string[] = [];
  // Of who has been down since the version before.
  if (!store.isOf(file)) return problems;
  for (const [piece, hash] of store.kept()) {
    if (!file.trueHash(piece).equals(hash)) problems.push(`${name}: piece ${piece} is another one`);
  }
  if (store.writtenTwice > 0) problems.push(`${name}: ${store.writtenTwice} pieces written twice`);
  if (failure !== undefined) problems.push(`${name}: ${String(failure)}`);
  return problems;
}
