import { afterEach, describe, expect, it, vi } from 'vitest';
import { link, MBIT, times } from './links.ts';
import { wrongIn } from './randomWorld.ts';
import {
  BITTORRENT_PORT,
  type SimulatedPeer,
  SwarmWorld,
  type WorldOptions,
} from './swarmWorld.ts';

const PIECE = 262_144;
const SEEDS = [1, 2, 3].map((seed) => ({ seed }));

vi.setConfig({ testTimeout: 60_000 });

let world: SwarmWorld;
afterEach(() => world.stop());

function worldOf(change: Partial<WorldOptions> & { readonly seed: number }): SwarmWorld {
  world = new SwarmWorld({
    pieceCount: 64,
    pieceLengthBytes: PIECE,
    originRate: 200 * MBIT,
    relays: [link(100)],
    nodes: times(4, link(100)),
    ...change,
  });
  return world;
}

/** Seconds until the last node has the file. */
async function finished(seed: number, maxSeconds = 200): Promise<number> {
  const isDone = await world.run(maxSeconds);
  expect({ seed, isDone, wrong: wrongIn(world) }).toEqual({ seed, isDone: true, wrong: [] });
  return Math.max(...world.nodes.map(({ doneAtMs }) => doneAtMs ?? 0)) / 1000;
}

function receivedBy({ transfer }: SimulatedPeer) {
  return transfer.progress().received;
}

describe('nodes under their floor take from the origin, under leases,', () => {
  const minRate = 1_000_000;
  const size = 64 * PIECE;
  const policy = { minRate, sources: ['relay', 'origin'], isCarried: false } as const;
  /** A relay that has much, and gives little of it. */
  const relays = [link(200, 4)];
  const nodes = times(4, link(100, 1));

  it.each(SEEDS)('what relays and peers do not give: seed $seed', async ({ seed }) => {
    const topUpBytes = 4 * size;
    await worldOf({ seed, relays, nodes, topUp: policy, topUpBytes }).begin();
    const seconds = await finished(seed);
    // Until the floor is missed, and until the ladder has come to its last rung.
    expect(seconds).toBeLessThan(size / minRate + 6);
    const fromOrigin = world.nodes.map((node) => receivedBy(node).fromOrigin);
    expect(Math.min(...fromOrigin)).toBeGreaterThan(0);
    // One copy is the relay's; the nodes' are little more than what all uplinks could not give them.
    const taken = fromOrigin.reduce((sum, bytes) => sum + bytes, 0);
    const given = [...relays, ...nodes].reduce((sum, { upRate }) => sum + upRate, 0) * seconds;
    expect(taken).toBeLessThan(1.2 * (nodes.length * size - given));
    // With the heads of all answers.
    expect(world.origin.sentBytes).toBeLessThan((size + taken) * 1.02);
    const other = world.nodes.map(
      (node) => receivedBy(node).fromRelays + receivedBy(node).fromPeers,
    );
    expect(Math.min(...other)).toBeGreaterThan(0);
  });

  it.each(SEEDS)(
    'no more than their share of it, and get the file all the same: seed $seed',
    async ({ seed }) => {
      const topUpBytes = size / 4;
      await worldOf({ seed, relays, nodes, topUp: policy, topUpBytes }).begin();
      await finished(seed);
      const fromOrigin = world.nodes.reduce((sum, node) => sum + receivedBy(node).fromOrigin, 0);
      expect(fromOrigin).toBeGreaterThan(topUpBytes / 2);
      expect(fromOrigin).toBeLessThanOrEqual(topUpBytes);
      // With the heads of all answers.
      expect(world.origin.sentBytes).toBeLessThan((size + topUpBytes) * 1.02);
    },
  );
});

describe('where BitTorrent is blocked', () => {
  it.each(SEEDS)(
    'HTTP holds the floor, and stops when it comes back and suffices: seed $seed',
    async ({ seed }) => {
      const minRate = 1_000_000;
      const topUp = { minRate, sources: ['relay'], isCarried: false } as const;
      worldOf({ seed, pieceCount: 400, relays: [link(200)], nodes: times(4, link(20)), topUp });
      const names = new Set(world.nodes.map(({ host }) => host));
      const heal = world.network.cut(
        (from, to, port) => port === BITTORRENT_PORT && (names.has(from) || names.has(to)),
      );
      await world.begin();
      await world.pass(8);
      for (const node of world.nodes) {
        const { fromPeers, fromRelays, fromRelayHttp } = receivedBy(node);
        expect(fromPeers + fromRelays).toBe(0);
        expect(fromRelayHttp).toBeGreaterThan(5 * minRate);
      }
      heal();
      // Until peers are called again, and it has been above the floor for five seconds.
      await world.pass(12);
      const before = world.nodes.map((node) => receivedBy(node));
      await world.pass(8);
      for (const [at, node] of world.nodes.entries()) {
        expect(node.doneAtMs).toBeUndefined();
        const { fromPeers, fromRelays, fromRelayHttp } = before[at] as ReturnType<
          typeof receivedBy
        >;
        const now = receivedBy(node);
        expect(now.fromRelayHttp).toBe(fromRelayHttp);
        expect(now.fromPeers + now.fromRelays - fromPeers - fromRelays).toBeGreaterThan(
          8 * minRate,
        );
        expect(node.topUp?.isHelping).toBe(false);
      }
      await finished(seed);
    },
  );
});

describe('where each node alone holds a part', () => {
  it.each(SEEDS)(
    'they bring it together without relay and origin, however large the parts are: seed $seed',
    async ({ seed }) => {
      const pieceCount = 96;
      const nodes = times(5, link(100));
      await worldOf({
        seed,
        pieceCount,
        relays: [],
        nodes,
        topUp: { sources: [], isCarried: false },
      });
      world.originConduct = { kind: 'silent' };
      const feed = world.wholeFeed();
      // Of 96 pieces 3, 6, 12, 24 and 51.
      const starts = [0, 3, 9, 21, 45, pieceCount];
      for (const [at, { store }] of world.nodes.entries()) {
        const [from, to] = [starts[at] as number, starts[at + 1] as number];
        store.leave(Array.from({ length: to - from }, (_, piece) => from + piece));
        store.keepFeed(feed);
      }
      await world.begin();
      const seconds = await finished(seed);
      expect(world.origin.sentBytes).toBe(0);
      // All that is missing, over all uplinks; and over that of who has most what it alone has.
      const missing = 4 * pieceCount * PIECE;
      const bound = Math.max(missing / (5 * 100 * MBIT), (51 * PIECE) / (100 * MBIT));
      expect(seconds).toBeLessThan(1.5 * bound + 1);
      expect(world.duplicateBytes()).toBeLessThan(0.02 * missing);
    },
  );
});
