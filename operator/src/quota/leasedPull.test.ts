/** What an origin sees of a puller under the terms of a lease, on a virtual clock. */
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { describe, expect, it } from 'vitest';
import {
  droppingPullers,
  LATE_MS,
  lateClock,
  MeteredHttp,
  PIECE_BYTES,
  type VirtualOrigin,
} from '../testing/meteredHttp.ts';
import { rateTerms } from './terms.ts';

const SETTLED_MS = 1_000;
const RUN_MS = 11_000;

/** One holder alone, which knows the origin's latency: what is left to lose is the pacer's. */
async function pull(
  limit: number,
  connections: number,
  origin: VirtualOrigin,
): Promise<MeteredHttp> {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const http = new MeteredHttp(origin, clock, () => random.next() * LATE_MS);
  const claim = {
    id: 'a',
    weight: 1,
    wantRateBytesPerSecond: 1e10,
    wantConnections: connections,
    // Rounded up, as it is told.
    timeToFirstByteMs: Math.ceil(origin.timeToFirstByteMs + LATE_MS / 2),
  };
  const room = { rateBytes: Number.POSITIVE_INFINITY, windowBytes: limit, connections };
  const share = { rateBytesPerSecond: 1e10, connections };
  const terms = rateTerms(claim, share, room, undefined);
  if (terms === undefined) throw new Error('there is no room');
  const pieceCount = Math.ceil((limit * RUN_MS) / 1000 / PIECE_BYTES) + 2;
  const extents = [{ first: 0, count: pieceCount }];
  const grant = { ...terms, extents, maxBytes: Number.MAX_SAFE_INTEGER, ttlMs: 60_000 };
  droppingPullers(
    http,
    lateClock(clock, () => random.next()),
  )(grant, 0).start();
  await clock.run(() => false, RUN_MS);
  return http;
}

const LIMITS = [1e6, 5e6, 20e6];
const CONNECTIONS = [1, 2, 8, 64];
const GRID = LIMITS.flatMap((limit) => CONNECTIONS.map((connections) => ({ limit, connections })));

describe('a puller under the terms of a lease', () => {
  it.each(
    GRID.flatMap((each) => [0, 20].map((timeToFirstByteMs) => ({ ...each, timeToFirstByteMs }))),
  )(
    'uses 95 % of $limit bytes per second and never more, over $connections connections, first byte after $timeToFirstByteMs ms',
    async ({ limit, connections, timeToFirstByteMs }) => {
      const http = await pull(limit, connections, { timeToFirstByteMs });
      expect(http.rateBetween(SETTLED_MS, RUN_MS) / limit).toBeGreaterThanOrEqual(0.95);
      expect(http.meter.largestWindow(1000)).toBeLessThanOrEqual(limit);
    },
  );

  // 1 / (1 s + 100 ms + quantum): 32 ms at most, but one or two connections need more of it.
  it.each(
    LIMITS.flatMap((limit) => [
      { limit, connections: 1, share: 0.82 },
      { limit, connections: 2, share: 0.85 },
      { limit, connections: 8, share: limit < 2e6 ? 0.87 : 1 / 1.132 },
      { limit, connections: 64, share: limit < 2e6 ? 0.87 : 1 / 1.132 },
    ]).concat({ limit: 200e6, connections: 8, share: 1 / 1.132 }),
  )(
    'uses $share of $limit bytes per second where answers begin after 100 ms, over $connections connections',
    async ({ limit, connections, share }) => {
      const http = await pull(limit, connections, { timeToFirstByteMs: 100 });
      expect(http.rateBetween(SETTLED_MS, RUN_MS) / limit).toBeGreaterThanOrEqual(share);
      expect(http.meter.largestWindow(1000)).toBeLessThanOrEqual(limit);
    },
  );

  it.each(GRID)(
    'keeps to $limit bytes per second where the origin stalls and bursts, over $connections connections',
    async ({ limit, connections }) => {
      const stall = { everyMs: 1500, forMs: 700 };
      const http = await pull(limit, connections, { timeToFirstByteMs: 0, stall });
      expect(http.meter.largestWindow(1000)).toBeLessThanOrEqual(limit);
    },
  );
});
