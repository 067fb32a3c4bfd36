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

// A world takes as long as the machine needs, whatever its clock says.
vi.setConfig({ testTimeout: 60_000 });

let world: SwarmWorld;
afterEach(() => world.stop());

/** 64 MiB from an origin at 100 Mbit/s by a relay at 200 to four nodes at 100. */
function worldOf(change: Partial<WorldOptions> = {}): SwarmWorld {
  world = new SwarmWorld({
    seed: 1,
    pieceCount: 256,
    pieceLengthBytes: PIECE,
    originRate: 100 * MBIT,
    relays: [link(200)],
    nodes: times(4, link(100)),
    ...change,
  });
  return world;
}

async function finished(maxSeconds = 120): Promise<void> {
  expect(await world.run(maxSeconds)).toBe(true);
  expect(wrongIn(world)).toEqual([]);
}

function receivedBy({ transfer }: SimulatedPeer): number {
  const { fromPeers, fromRelays, fromRelayHttp, fromOrigin } = transfer.progress().received;
  return fromPeers + fromRelays + fromRelayHttp + fromOrigin;
}

/** Bytes per second of each of them in the seconds to come. */
async function ratesOver(
  seconds: number,
  peers: readonly SimulatedPeer[],
  countOf: (peer: SimulatedPeer) => number,
): Promise<number[]> {
  const before = peers.map(countOf);
  await world.pass(seconds);
  return peers.map((peer, at) => (countOf(peer) - (before[at] ?? 0)) / seconds);
}

describe('what a user changes while a transfer runs', () => {
  it('maxRate slows nodes down, and lets them go on as before when it is gone', async () => {
    await worldOf().begin();
    const { nodes } = world;
    const fast = await ratesOver(1, nodes, receivedBy);
    expect(Math.min(...fast)).toBeGreaterThan(4_000_000);
    for (const { transfer } of nodes) transfer.setRates({ maxRate: 1_000_000 });
    // What was asked for before comes still.
    await world.pass(2);
    for (const rate of await ratesOver(5, nodes, receivedBy)) {
      expect(rate).toBeLessThan(1_150_000);
      expect(rate).toBeGreaterThan(850_000);
    }
    for (const { transfer } of nodes) transfer.setRates({});
    await world.pass(1);
    const again = await ratesOver(1, nodes, receivedBy);
    expect(Math.min(...again)).toBeGreaterThan(4_000_000);
    await finished();
  });

  it('maxUploadRate holds back what nodes and relays give', async () => {
    await worldOf().begin();
    await world.pass(1);
    const givers = [...world.nodes, ...world.relays];
    for (const { transfer } of givers) transfer.setRates({ maxUploadRate: 500_000 });
    await world.pass(2);
    const rates = await ratesOver(5, givers, ({ transfer }) => transfer.progress().uploadedBytes);
    expect(Math.max(...rates)).toBeLessThan(600_000);
    expect(Math.max(...rates)).toBeGreaterThan(300_000);
    for (const { transfer } of givers) transfer.setRates({});
    await finished();
  });

  it('a floor, a higher one, and HTTP alone each act from then on', async () => {
    worldOf({ topUp: { sources: [], isCarried: false } });
    world.network.cut((from, to, port) => {
      const isNode = from.name.startsWith('node') || to.name.startsWith('node');
      return isNode && port === BITTORRENT_PORT;
    });
    await world.begin();
    const { nodes } = world;
    const setPolicy = (policy: Parameters<NonNullable<SimulatedPeer['topUp']>['setPolicy']>[0]) => {
      for (const { topUp } of nodes) topUp?.setPolicy(policy);
    };
    expect(await ratesOver(3, nodes, receivedBy)).toEqual([0, 0, 0, 0]);
    for (const minRate of [500_000, 1_500_000]) {
      setPolicy({ minRate, sources: ['relay'], isCarried: false });
      await world.pass(2);
      for (const rate of await ratesOver(3, nodes, receivedBy)) {
        expect(rate).toBeGreaterThan(minRate);
        expect(rate).toBeLessThan(minRate * 1.5);
      }
    }
    setPolicy({ sources: ['relay'], isCarried: true });
    await world.pass(1);
    // The relay's uplink is for four of them.
    const carried = await ratesOver(3, nodes, receivedBy);
    expect(Math.min(...carried)).toBeGreaterThan(4_000_000);
    await finished();
  });
});
