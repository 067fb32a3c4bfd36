import { describe, expect, it } from 'vitest';
import { QuotaWorld } from './quotaWorld.ts';
import type { SimulatedHolder } from './simulatedHolder.ts';

const MIB = 2 ** 20;
const LIMIT = 4 * MIB;
const HOLDERS = 4;
const STAY_MS = 10_000;
const RUN_MS = 60_000;

/** Nothing fails; holders come and go, and leave in the middle of what they do. */
describe('a world in which nothing fails', () => {
  it('proves every end of a connection, and loses nothing of the limit by it', async () => {
    const world = new QuotaWorld({
      seed: 1,
      chances: 0,
      drift: 0,
      servers: 1,
      relays: HOLDERS,
      agents: 0,
      closeAfterMs: 120_000,
      latencyMs: 15,
      limits: {
        connections: 8,
        bandwidthBytesPerSecond: LIMIT,
        trafficBytes: Number.POSITIVE_INFINITY,
      },
      uncovered: undefined,
      periodEndsInMs: 1e9,
      hasStream: false,
    });
    world.begin();
    const goes = (at: number) => {
      const holder = world.holders[at] as SimulatedHolder;
      holder.stop();
      world.clock.setTimer(2_000, () => world.killHolder(at, true));
      world.clock.setTimer(STAY_MS, () => goes(at));
    };
    for (let at = 0; at < HOLDERS; at += 1) {
      world.clock.setTimer(STAY_MS + (at * STAY_MS) / HOLDERS, () => goes(at));
    }
    await world.clock.run(() => false, STAY_MS);
    const before = world.oracle.totalBytes;
    await world.clock.run(() => false, RUN_MS);
    expect(world.oracle.violations).toEqual([]);
    expect(world.origin.unprovenEnds).toBe(0);
    const used = ((world.oracle.totalBytes - before) * 1000) / RUN_MS / LIMIT;
    expect(used).toBeGreaterThan(0.85);
  });
});
