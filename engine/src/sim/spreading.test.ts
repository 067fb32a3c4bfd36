import { afterEach, describe, expect, it, vi } from 'vitest';
import { link, MBIT, times } from './links.ts';
import { SwarmWorld, type WorldOptions } from './swarmWorld.ts';

const PIECE = 262_144;
const PIECES = 128;
const BYTES = PIECES * PIECE;

// A world takes as long as the machine needs, whatever its clock says.
vi.setConfig({ testTimeout: 120_000 });

let world: SwarmWorld;
afterEach(() => world.stop());

/** Runs it to its end; copies of the file that relays gave, and that each node received. */
async function played(options: Pick<WorldOptions, 'originRate' | 'relays' | 'nodes'>) {
  world = new SwarmWorld({ seed: 1, pieceCount: PIECES, pieceLengthBytes: PIECE, ...options });
  await world.begin();
  expect(await world.run(300)).toBe(true);
  const { relays, nodes } = world;
  const doneSeconds = nodes.map(({ doneAtMs }) => (doneAtMs ?? 0) / 1000);
  const relayCopies = relays.reduce((sum, { host }) => sum + host.sentBytes, 0) / BYTES;
  const received = nodes.flatMap(({ transfer }) => Object.values(transfer.progress().received));
  const nodeCopies = received.reduce((sum, bytes) => sum + bytes, 0) / nodes.length / BYTES;
  return { doneSeconds, seconds: Math.max(...doneSeconds), relayCopies, nodeCopies };
}

describe('a file on its way through a swarm', () => {
  it('comes as fast as the origin gives it, with a tail under a second', async () => {
    const originRate = 100 * MBIT;
    const { seconds, relayCopies, nodeCopies } = await played({
      originRate,
      relays: times(2, link(200)),
      nodes: times(16, link(100)),
    });
    expect(seconds).toBeLessThan(BYTES / originRate + 1);
    // Less than their links could give: acknowledgements of the pull need room.
    expect(relayCopies).toBeLessThan(3.5);
    expect(nodeCopies).toBeLessThan(1.02);
  });

  it('leaves a weak relay once, and not much of it twice', async () => {
    const upRate = 50 * MBIT;
    const { seconds, relayCopies } = await played({
      originRate: 100 * MBIT,
      relays: [{ upRate, downRate: 200 * MBIT }],
      nodes: times(8, link(100)),
    });
    // Of a file this small the last pieces, which are shown to all, are a tenth.
    expect(relayCopies).toBeLessThan(1.15);
    expect(seconds / (BYTES / upRate)).toBeLessThan(1.15);
  });

  it('is carried by the relays where nodes give little', async () => {
    const { seconds } = await played({
      originRate: 100 * MBIT,
      relays: times(2, link(200)),
      nodes: times(8, link(100, 10)),
    });
    const up = (2 * 200 + 8 * 10) * MBIT;
    expect(seconds / ((8 * BYTES) / up)).toBeLessThan(1.5);
  });

  it('is not carried among relays while uplinks that are full have nodes to serve', async () => {
    const { seconds, doneSeconds } = await played({
      originRate: 100 * MBIT,
      relays: times(2, link(200)),
      nodes: times(16, link(100, 20)),
    });
    const fromPeers = world.relays.map(({ transfer }) => {
      const { fromRelays, fromPeers } = transfer.progress().received;
      return (fromRelays + fromPeers) / BYTES;
    });
    // Half of the file each, when they asked for it as agents do.
    expect(Math.max(...fromPeers)).toBeLessThan(0.1);
    const up = (2 * 200 + 16 * 20) * MBIT;
    expect(seconds / ((16 * BYTES) / up)).toBeLessThan(1.2);
    expect(Math.min(...doneSeconds) / seconds).toBeGreaterThan(0.9);
    // Nobody else needs anything now.
    const isFull = () =>
      world.relays.every(({ transfer }) => transfer.progress().verifiedBytes === BYTES);
    for (let waited = 0; !isFull() && waited < 10; waited += 1) await world.pass(1);
    expect(isFull()).toBe(true);
  });

  it('reaches two nodes as it does eight', async () => {
    const originRate = 100 * MBIT;
    const { seconds, relayCopies } = await played({
      originRate,
      relays: [link(200)],
      nodes: times(2, link(100)),
    });
    expect(seconds).toBeLessThan(BYTES / originRate + 1);
    expect(relayCopies).toBeLessThan(2.02);
  });

  it('does not wait for slow nodes, nor is it sent twice for their sake', async () => {
    const originRate = 100 * MBIT;
    const { doneSeconds, nodeCopies } = await played({
      originRate,
      relays: times(2, link(200)),
      nodes: [...times(6, link(100)), ...times(2, link(10))],
    });
    expect(Math.max(...doneSeconds.slice(0, 6))).toBeLessThan((BYTES / originRate) * 1.5);
    expect(nodeCopies).toBeLessThan(1.02);
  });
});
