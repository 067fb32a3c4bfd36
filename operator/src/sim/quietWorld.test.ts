import { describe, expect, it } from 'vitest';
import { QuotaWorld } from './quotaWorld.ts';
import type { SimulatedHolder } from './simulatedHolder.ts';

const MIB = 2 ** 20;
const LIMIT = 4 * MIB;
const HOLDERS = 4;
const STAY_MS = 10_000;
const RUN_MS = 60_000;
const LOOK_MS = 100;
/** Who comes has a lease and its first bytes by then. */
const BEGIN_MS = 1_500;

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
      hasMarks: true,
      hasBackups: false,
      snapshotEvery: { documents: 1_024, entries: 16_384, bytes: 8 * MIB },
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
    const left = new Set<SimulatedHolder>();
    const goes = (at: number) => {
      const holder = world.holders[at] as SimulatedHolder;
      holder.stop();
      left.add(holder);
      world.clock.setTimer(2_000, () => {
        // Not the one that has come in its place since: it has settled nothing.
        if (world.holders[at] === holder) world.killHolder(at, true);
      });
      world.clock.setTimer(STAY_MS, () => goes(at));
    };
    for (let at = 0; at < HOLDERS; at += 1) {
      world.clock.setTimer(STAY_MS + (at * STAY_MS) / HOLDERS, () => goes(at));
    }
    await world.clock.run(() => false, STAY_MS);
    // A machine that was killed is away for some seconds: at times nobody wants anything.
    const isWanted = () => world.holders.some((each) => each.machine.isAlive && !left.has(each));
    let wantedMs = 0;
    let usable = 0;
    let used = 0;
    for (let at = 0; at < RUN_MS; at += LOOK_MS) {
      const before = world.oracle.totalBytes;
      const wasWanted = isWanted();
      await world.clock.run(() => false, LOOK_MS);
      wantedMs = wasWanted && isWanted() ? wantedMs + LOOK_MS : 0;
      if (wantedMs <= BEGIN_MS) continue;
      usable += (LIMIT * LOOK_MS) / 1000;
      used += world.oracle.totalBytes - before;
    }
    expect(world.oracle.violations).toEqual([]);
    expect(world.origin.unprovenEnds).toBe(0);
    expect(usable).toBeGreaterThan((RUN_MS * LIMIT) / 2_000);
    expect(used / usable).toBeGreaterThan(0.8);
  });
});
