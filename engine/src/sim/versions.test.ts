import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Layout, layoutOf } from '../pieces/layout.ts';
import { link, MBIT, times } from './links.ts';
import type { SimulatedHost } from './network.ts';
import { wrongIn } from './randomWorld.ts';
import { type SimulatedPeer, SwarmWorld, type WorldOptions } from './swarmWorld.ts';
import { TrueFile } from './trueFile.ts';

const PIECE = 262_144;
const PIECES = 48;
const MAX_SECONDS = 120;
const LINK = link(100);

vi.setConfig({ testTimeout: 60_000 });

let world: SwarmWorld;
afterEach(() => world.stop());

/** 12 MiB from an origin at 50 Mbit/s by two relays to four nodes, all at 100. */
function worldOf(seed: number, change: Partial<WorldOptions> = {}): SwarmWorld {
  world = new SwarmWorld({
    seed,
    pieceCount: PIECES,
    pieceLengthBytes: PIECE,
    originRate: 50 * MBIT,
    relays: times(2, LINK),
    nodes: times(4, LINK),
    ...change,
  });
  return world;
}

function fileOf(pieceCount = PIECES): Layout {
  return layoutOf([{ path: 'file.bin', sizeBytes: pieceCount * PIECE }], PIECE);
}

/** With the seed that repeats it. */
async function finished(seed: number, nodes = world.nodes): Promise<void> {
  const isDone = await world.run(MAX_SECONDS, nodes);
  expect({ seed, isDone, wrong: wrongIn(world) }).toEqual({ seed, isDone: true, wrong: [] });
  for (const { store } of nodes) expect(store.keptCount).toBe(world.file.layout.pieceCount);
}

const SEEDS = [1, 2, 3].map((seed) => ({ seed }));

describe('where pullers disagree about pieces', () => {
  it.each(SEEDS)(
    'nodes hold those back until it is settled, and then get them: seed $seed',
    async ({ seed }) => {
      await worldOf(seed).begin();
      const disputed = [3, 20, PIECES - 1];
      const [told] = world.nodes as [SimulatedPeer];
      for (const batch of world.falseBatches(disputed)) told.transfer.acceptBatch(batch);
      await world.pass(10);
      for (const { transfer, doneAtMs } of world.nodes) {
        expect(doneAtMs).toBeUndefined();
        expect([...transfer.feed.disputed].sort((a, b) => a - b)).toEqual(disputed);
        expect(transfer.progress().verifiedPieces).toBeGreaterThanOrEqual(PIECES - disputed.length);
      }
      expect(world.settleDisputes()).toBe(1);
      await finished(seed);
      expect(world.originCopies).toBeLessThan(1.02);
    },
  );

  it.each(SEEDS)(
    'because the origin lied to one of them, all end with the right bytes: seed $seed',
    async ({ seed }) => {
      await worldOf(seed);
      const [liedTo, other] = world.relays as [SimulatedPeer, SimulatedPeer];
      world.originConduct = { kind: 'liesTo', host: liedTo.name };
      const apart = new Set<SimulatedHost>(
        [liedTo, ...world.nodes.slice(0, 2)].map(({ host }) => host),
      );
      const heal = world.network.cut(
        (from, to) => ![from, to].includes(world.origin) && apart.has(from) !== apart.has(to),
      );
      await world.begin();
      await world.pass(1);
      // The other one pulls what that one has pulled.
      world.takeBack(liedTo);
      await world.pass(8);
      expect(other.transfer.progress().verifiedPieces).toBeGreaterThan(PIECES / 2);
      heal();
      await world.pass(5);
      expect(world.nodes.every(({ transfer }) => transfer.feed.disputed.size > 0)).toBe(true);
      expect(world.settleDisputes()).toBe(1);
      await finished(seed, [...world.nodes, liedTo]);
    },
  );
});

describe('when the origin has another version', () => {
  it.each(SEEDS)(
    'nodes go over to it and fetch no more than differs: seed $seed',
    async ({ seed }) => {
      const before = new TrueFile(fileOf());
      await worldOf(seed, { file: before }).begin();
      await finished(seed);
      const given = world.origin.sentBytes;
      const changed = [0, 17, 30];
      await world.nextEpoch(new TrueFile(fileOf(), { changed }));
      const beganAtMs = world.clock.now();
      await finished(seed);
      expect(world.clock.now() - beganAtMs).toBeLessThan(10_000);
      for (const { store } of world.nodes) expect(store.copied).toBe(PIECES - changed.length);
      // The relays cannot know which pieces they have before one of them has read them.
      expect(world.origin.sentBytes - given).toBeLessThan(PIECES * PIECE * 1.02);
      for (const { transfer } of world.nodes) {
        const { received } = transfer.progress();
        const bytes = received.fromPeers + received.fromRelays + received.fromRelayHttp;
        expect(bytes).toBeLessThan((changed.length + 2) * PIECE);
      }
    },
  );

  it.each(SEEDS)(
    'in mid-pull, everybody goes over to it, with another length too: seed $seed',
    async ({ seed }) => {
      await worldOf(seed, { file: new TrueFile(fileOf()) }).begin();
      await world.pass(1);
      expect(world.nodes.some(({ doneAtMs }) => doneAtMs !== undefined)).toBe(false);
      const had = world.nodes.map(({ store }) => store.keptCount);
      expect(Math.min(...had)).toBeGreaterThan(0);
      await world.nextEpoch(new TrueFile(fileOf(PIECES + 9), { changed: [1] }));
      await finished(seed);
      for (const { store } of world.nodes) expect(store.copied).toBeGreaterThan(0);
    },
  );
});
