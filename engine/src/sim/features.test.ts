import { afterEach, describe, expect, it, vi } from 'vitest';
import { link, MBIT, times } from './links.ts';
import { flipped, isPayload } from './mutation.ts';
import { wrongIn } from './randomWorld.ts';
import type { OriginConduct } from './simulatedOrigin.ts';
import { type SimulatedPeer, SwarmWorld, type WorldOptions } from './swarmWorld.ts';

const PIECE = 262_144;
const PIECES = 48;
const FILE = PIECES * PIECE;
/** More than any of these worlds needs by far. */
const MAX_SECONDS = 120;
const LINK = link(100);

vi.setConfig({ testTimeout: 60_000 });

let world: SwarmWorld;
afterEach(() => world.stop());

/** 12 MiB from an origin at 50 Mbit/s by one relay or two to four nodes, all at 100. */
function worldOf(change: Partial<WorldOptions> = {}): SwarmWorld {
  world = new SwarmWorld({
    seed: 11,
    pieceCount: PIECES,
    pieceLengthBytes: PIECE,
    originRate: 50 * MBIT,
    relays: [LINK],
    nodes: times(4, LINK),
    ...change,
  });
  return world;
}

function closedFor(peers: readonly SimulatedPeer[], reason: string): number {
  const counts = peers.map(({ engine }) => [...engine.closedConnections]);
  return counts.flat().reduce((sum, [each, count]) => sum + (each === reason ? count : 0), 0);
}

interface Feature {
  readonly name: string;
  readonly options?: Partial<WorldOptions>;
  /** After it began; answers who is to have the file in the end, all when it does not say. */
  readonly act: () => Promise<readonly SimulatedPeer[] | undefined> | undefined;
  /** What else must be so in the end. */
  readonly judge?: () => void;
}

const first = () => world.nodes[0] as SimulatedPeer;
const others = () => world.nodes.slice(1);

const features: readonly Feature[] = [
  {
    name: 'bring the file without duplicate bytes where nothing goes wrong',
    act: () => undefined,
    judge: () => expect(world.duplicateBytes()).toBeLessThan(0.02 * FILE * world.nodes.length),
  },
  {
    name: 'ban a peer that sends wrong bytes, and keep none of them',
    act: async () => {
      const bad = first().name;
      world.tamper((from, bytes) => (from === bad && isPayload(bytes) ? flipped(bytes) : bytes));
      return others();
    },
    judge: () => expect(closedFor(others(), 'WrongBytes')).toBeGreaterThan(0),
  },
  {
    name: 'do not wait for a peer that promises blocks and sends none',
    act: async () => {
      const bad = first().name;
      const nothing = new Uint8Array();
      world.tamper((from, bytes) => (from === bad && isPayload(bytes) ? nothing : bytes));
      return others();
    },
  },
  {
    name: 'serve a node whose disk is slow, and do not let others wait for it',
    options: { disks: { node1: { bytesPerSecond: 1_000_000 } } },
    act: async () => {
      expect(await world.run(MAX_SECONDS, others())).toBe(true);
      expect(first().doneAtMs).toBeUndefined();
      return world.nodes;
    },
    judge: () => expect((first().doneAtMs ?? 0) / 1000).toBeGreaterThan(FILE / 1_000_000),
  },
  {
    name: 'fail a node whose disk is full, by that name, and no other',
    options: { disks: { node1: { capacityBytes: FILE / 2 } } },
    act: async () => others(),
    judge: () => {
      expect(first().failure).toMatchObject({ code: 'ENOSPC' });
      expect(first().store.keptCount).toBe(PIECES / 2);
      first().failure = undefined;
    },
  },
  {
    name: 'fetch after a loss of power what was not synced, and nothing else',
    act: async () => {
      await world.pass(2.5);
      const had = first().store.keptCount;
      await world.kill(first());
      const lost = first().store.losePower().length;
      expect(lost).toBeGreaterThan(0);
      expect(lost).toBeLessThan(had);
      await world.pass(0.5);
      await world.restart(first());
      expect(first().transfer.progress().verifiedPieces).toBe(had - lost);
      return world.nodes;
    },
  },
  {
    name: 'get the rest from the relay when all other nodes are cut off',
    act: async () => {
      await world.pass(1);
      const { host } = first();
      const relays = new Set(world.relays.map((relay) => relay.host));
      world.network.cut((from, to) => {
        if (from === host) return !relays.has(to);
        return to === host && !relays.has(from);
      });
      return world.nodes;
    },
  },
  {
    name: 'keep nothing wrong of what a relay sends by HTTP, and ask another',
    options: { relays: [LINK, LINK], topUp: { sources: ['relay'], isCarried: true } },
    act: async () => {
      world.tamperHttp((from, bytes) =>
        from === 'relay1' && isPayload(bytes) ? flipped(bytes) : bytes,
      );
      return world.nodes;
    },
    judge: () => expect(world.duplicateBytes()).toBeGreaterThan(0),
  },
  ...(
    [
      { kind: 'silent' },
      { kind: 'status', status: 503 },
      { kind: 'stalls', afterBytes: 1_000 },
      { kind: 'short', missingBytes: 1_000 },
    ] satisfies OriginConduct[]
  ).map((conduct) => ({
    name: `go on after an origin that was ${conduct.kind} for a while is good again`,
    act: async () => {
      await world.pass(0.5);
      world.originConduct = conduct;
      await world.pass(3);
      world.originConduct = { kind: 'good' };
      return world.nodes;
    },
    judge: () => expect(world.originCopies).toBeLessThan(1.2),
  })),
];

describe('a simulated swarm with faults: its nodes', () => {
  it.each(features)('$name', async ({ options, act, judge }) => {
    worldOf(options);
    await world.begin();
    const served = (await act()) ?? world.nodes;
    expect(await world.run(MAX_SECONDS, served)).toBe(true);
    judge?.();
    expect(wrongIn(world)).toEqual([]);
  });

  it('get the file over a link that is far too slow for their floor', async () => {
    const pieceCount = 12;
    const rate = 0.25 * MBIT;
    await worldOf({
      pieceCount,
      nodes: [link(0.25), ...times(5, LINK)],
      topUp: { sources: ['relay'], minRate: 5_000_000, isCarried: false },
    }).begin();
    // Twice what the link needs: what HTTP began in vain, and what comes twice at the end.
    expect(await world.run((2 * pieceCount * PIECE) / rate)).toBe(true);
    expect(wrongIn(world)).toEqual([]);
  });

  it.each([
    { conduct: { kind: 'changed' }, code: 'SourceChanged' },
    { conduct: { kind: 'liesAboutRange' }, code: 'BadContentRange' },
    { conduct: { kind: 'status', status: 404 }, code: 'SourceNotFound' },
  ] as const)('get nothing more from an origin with $code', async ({ conduct, code }) => {
    await worldOf().begin();
    await world.pass(1);
    world.originConduct = conduct;
    await world.pass(10);
    const [relay] = world.relays;
    expect(relay?.pullErrors[0]).toMatchObject({ code });
    const counts = world.nodes.map(({ store }) => store.keptCount);
    expect(new Set(counts)).toEqual(new Set([relay?.store.keptCount]));
    expect(counts[0]).toBeLessThan(PIECES);
    expect(wrongIn(world)).toEqual([]);
  });
});
