/** What an origin sees of a puller under the terms of a lease, on a virtual clock. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { HttpConnection, HttpSource } from '@sluice/engine/ports/httpSource.ts';
import { createPuller } from '@sluice/engine/session/originPuller.ts';
import type { PieceAssembly } from '@sluice/engine/session/pullPlan.ts';
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { OriginMeter } from '@sluice/engine/testing/originMeter.ts';
import { describe, expect, it } from 'vitest';
import { rateTerms } from './terms.ts';

const PIECE_BYTES = 262_144;
const HEAD_BYTES = 300;
const SIZE_BYTES = 2 ** 40;
const CHUNK_BYTES = 65_536;
const CHUNK = new Uint8Array(CHUNK_BYTES);
/** Of a network that is no limit. */
const LINK_BYTES_PER_MS = 1_000_000;
const SETTLED_MS = 1_000;
const RUN_MS = 11_000;
/** Timers and sockets are heard of so late. */
const LATE_MS = 2;

interface Origin {
  readonly timeToFirstByteMs: number;
  /** Nothing goes out in the first part of each period. */
  readonly stall?: { readonly everyMs: number; readonly forMs: number };
}

/** An origin that writes what it is asked for at once, after its time, and remembers when. */
class MeteredHttp implements HttpSource {
  readonly meter: OriginMeter;
  readonly #origin: Origin;
  readonly #clock: Clock;
  readonly #late: () => number;

  constructor(origin: Origin, clock: Clock, late: () => number) {
    this.#origin = origin;
    this.#clock = clock;
    this.meter = new OriginMeter(clock);
    this.#late = late;
  }

  connection(): HttpConnection {
    return {
      close: async () => {},
      unprovenEnds: 0,
      unaskedBytes: 0,
      request: async ({ range, onHead, onChunk }) => {
        const { start, end } = range as { start: number; end: number };
        const askedAtMs = this.#clock.now();
        await this.#pass(this.#origin.timeToFirstByteMs);
        await this.#pass(this.#stallLeftMs());
        const bodyBytes = end - start;
        this.meter.add(HEAD_BYTES + bodyBytes);
        await this.#pass(this.#late());
        const timeToHeadMs = this.#clock.now() - askedAtMs;
        const headers = { 'content-range': `bytes ${start}-${end - 1}/${SIZE_BYTES}` };
        const head = { status: 206, headers, headerBytes: HEAD_BYTES, timeToHeadMs };
        onHead(head);
        for (let at = 0; at < bodyBytes; at += CHUNK_BYTES) {
          const chunk = CHUNK.subarray(0, bodyBytes - at);
          await this.#pass(chunk.byteLength / LINK_BYTES_PER_MS);
          onChunk(chunk);
        }
        return { head, bodyBytes, wireBytes: HEAD_BYTES + bodyBytes };
      },
    };
  }

  rateBetween(fromMs: number, untilMs: number): number {
    return (this.meter.bytesBetween(fromMs, untilMs) * 1000) / (untilMs - fromMs);
  }

  #stallLeftMs(): number {
    const { everyMs, forMs } = this.#origin.stall ?? { everyMs: 1, forMs: 0 };
    return Math.max(0, forMs - (this.#clock.now() % everyMs));
  }

  #pass(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.#clock.setTimer(delayMs, resolve));
  }
}

/** One holder alone, which knows the origin's latency: what is left to lose is the pacer's. */
async function pull(limit: number, connections: number, origin: Origin): Promise<MeteredHttp> {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const late = () => random.next() * LATE_MS;
  const lateClock: Clock = {
    now: () => clock.now(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs + late(), callback),
  };
  const http = new MeteredHttp(origin, clock, late);
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
  const file = { url: 'http://origin/', sizeBytes: SIZE_BYTES, validator: {} };
  const options = { files: [file], headers: {}, ranges: true, pieceLengthBytes: PIECE_BYTES };
  const layout = {
    pieceSizeBytes: () => PIECE_BYTES,
    locate: (piece: number) => ({ fileIndex: 0, offset: piece * PIECE_BYTES }),
  };
  const grant = { ...terms, extents, maxBytes: Number.MAX_SAFE_INTEGER, ttlMs: 60_000 };
  const dependencies = { http, clock: lateClock, layout, target: new Dropping() };
  const puller = createPuller(grant, 0, options, dependencies);
  puller.start();
  await clock.run(() => false, RUN_MS);
  return http;
}

class Dropping {
  readonly #held = new Set<number>();

  holds(piece: number): boolean {
    return this.#held.has(piece);
  }

  assemble(piece: number): PieceAssembly {
    return {
      piece,
      sizeBytes: PIECE_BYTES,
      missing: () => [{ offset: 0, length: PIECE_BYTES }],
      write: () => {},
      finish: async () => {
        this.#held.add(piece);
        return 'verified';
      },
      abort: () => {},
    };
  }
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
