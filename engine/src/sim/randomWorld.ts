import type { SimulatedHost } from './network.ts';
import { SeededRandom } from './seededRandom.ts';
import {
  BITTORRENT_PORT,
  type SimulatedPeer,
  SwarmWorld,
  type WorldOptions,
} from './swarmWorld.ts';

const MBIT_BYTES = 125_000;
const PIECE_BYTES = 262_144;
/** The last fault has begun by then, and nodes that it stopped are back so much later. */
const FAULTS_MS = 10_000;
const MAX_DOWN_MS = 5_000;
/** More than the slowest world needs by far: who is not done by then never will be. */
const MAX_SECONDS = 900;

/** What came of one world; empty when everything is as it should be. */
export interface WorldVerdict {
  readonly problems: readonly string[];
  readonly virtualSeconds: number;
  readonly faults: readonly string[];
  /** What its nodes received and did not need, as a share of what they have. */
  readonly duplicateShare: number;
}

interface Fault {
  readonly name: string;
  readonly atMs: number;
  act(): Promise<void> | void;
}

/** Everything about it follows from the seed: sizes, rates, delays, disks, and what goes wrong. */
export async function tryRandomWorld(seed: number): Promise<WorldVerdict> {
  const random = new SeededRandom(seed);
  const world = new SwarmWorld(optionsFrom(seed, random));
  const faults = faultsOf(world, random);
  for (const { atMs, act } of faults) world.clock.setTimer(atMs, () => act());
  await world.begin();
  // A node that is down counts as done: not before all are back.
  await world.pass((FAULTS_MS + MAX_DOWN_MS) / 1000);
  const isDone = await world.run(MAX_SECONDS);
  const problems = isDone ? [] : [`not done after ${MAX_SECONDS} s: ${unfinished(world)}`];
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

function faultsOf(world: SwarmWorld, random: SeededRandom): Fault[] {
  const kinds = [killRelay, restartNode, blockBitTorrent, partition, slowLink];
  const count = random.below(4);
  const faults: Fault[] = [];
  for (let at = 0; at < count; at += 1) {
    const kind = kinds[random.below(kinds.length)] as (typeof kinds)[number];
    const fault = kind(world, random, random.below(FAULTS_MS));
    if (fault !== undefined) faults.push(fault);
  }
  return faults;
}

/** Never the last one: without a relay nobody pulls here. */
function killRelay(world: SwarmWorld, random: SeededRandom, atMs: number): Fault {
  const victim = pick(world.relays, random);
  return {
    name: `kill ${victim.name}`,
    atMs,
    act: async () => {
      const alive = world.relays.filter(({ host }) => host.isAlive);
      if (alive.length > 1 && victim.host.isAlive) await world.kill(victim);
    },
  };
}

function restartNode(world: SwarmWorld, random: SeededRandom, atMs: number): Fault {
  const victim = pick(world.nodes, random);
  const downMs = random.below(MAX_DOWN_MS);
  return {
    name: `restart ${victim.name}`,
    atMs,
    act: async () => {
      if (!victim.host.isAlive) return;
      await world.kill(victim);
      world.clock.setTimer(downMs, () => world.restart(victim));
    },
  };
}

function blockBitTorrent(world: SwarmWorld, random: SeededRandom, atMs: number): Fault {
  const victim = pick(world.nodes, random).host;
  const isMeant = (from: SimulatedHost, to: SimulatedHost, port: number) =>
    port === BITTORRENT_PORT && (from === victim || to === victim);
  return cutting(world, random, `block ${victim.name}`, atMs, isMeant);
}

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
  const { host } = pick([...world.nodes, ...world.relays], random);
  return {
    name: `slow ${host.name}`,
    atMs,
    act: () => {
      host.rates = { upRate: host.rates.upRate / 10, downRate: host.rates.downRate / 10 };
    },
  };
}

function pick<T>(from: readonly T[], random: SeededRandom): T {
  return from[random.below(from.length)] as T;
}

function unfinished(world: SwarmWorld): string {
  return world.nodes
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
  for (const [piece, hash] of store.kept()) {
    if (!file.trueHash(piece).equals(hash)) problems.push(`${name}: piece ${piece} is another one`);
  }
  if (store.writtenTwice > 0) problems.push(`${name}: ${store.writtenTwice} pieces written twice`);
  if (failure !== undefined) problems.push(`${name}: ${String(failure)}`);
  return problems;
}
