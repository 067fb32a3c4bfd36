import { describe, expect, it } from 'vitest';
import { type HttpConnection, type HttpSource, HttpSourceError } from '../ports/httpSource.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { createPuller } from './originPuller.ts';
import { UNSEEN_BYTES } from './puller.ts';

const PIECE_BYTES = 65_536;
const PIECES = 1_000;
const SIZE_BYTES = PIECES * PIECE_BYTES;
const ANSWER_MS = 20;
const SILENT_MS = 15_000;
const GRANT = {
  rateBytesPerSecond: 1_000_000,
  slackBytes: 100_000,
  connections: 4,
  maxBytes: SIZE_BYTES * 2,
  ttlMs: 600_000,
  extents: [{ first: 0, count: PIECES }],
};

/** Answers all requests but some, of which nobody hears again; knows what it has open. */
class LosingOrigin implements HttpSource {
  requests = 0;
  open = 0;
  mostOpen = 0;
  readonly #clock: VirtualClock;
  readonly #loses: (request: number) => boolean;
  readonly #ranges: boolean;

  constructor(clock: VirtualClock, ranges: boolean, loses: (request: number) => boolean) {
    this.#clock = clock;
    this.#ranges = ranges;
    this.#loses = loses;
  }

  connection(): HttpConnection {
    let isOpen = false;
    let unprovenEnds = 0;
    let ended = Promise.resolve();
    const pass = (ms: number) => new Promise<void>((go) => this.#clock.setTimer(ms, go));
    return {
      get unprovenEnds() {
        return unprovenEnds;
      },
      unaskedBytes: 0,
      close: async () => {
        await ended;
        if (isOpen) this.open -= 1;
        isOpen = false;
      },
      request: async ({ range = { start: 0, end: SIZE_BYTES }, onHead, onChunk }, signal) => {
        this.requests += 1;
        const { requests } = this;
        if (!isOpen) this.open += 1;
        isOpen = true;
        this.mostOpen = Math.max(this.mostOpen, this.open);
        if (this.#loses(requests)) {
          const { promise, resolve } = Promise.withResolvers<void>();
          ended = promise;
          // In the very moment in which it is aborted: sooner than it is closed.
          const lose = () => {
            isOpen = false;
            unprovenEnds += 1;
            resolve();
          };
          signal.addEventListener('abort', lose);
          await Promise.race([ended, pass(SILENT_MS)]);
          signal.removeEventListener('abort', lose);
          if (!signal.aborted) lose();
          throw new HttpSourceError('TimedOut', 'silence', { wireBytes: 0, exact: false });
        }
        await pass(ANSWER_MS);
        const { start, end } = range;
        const headers = { 'content-range': `bytes ${start}-${end - 1}/${SIZE_BYTES}` };
        const status = this.#ranges ? 206 : 200;
        const head = { status, headers, headerBytes: 300, timeToHeadMs: ANSWER_MS };
        onHead(head);
        for (let at = start; at < end && !signal.aborted; at += PIECE_BYTES) {
          await onChunk(new Uint8Array(Math.min(PIECE_BYTES, end - at)));
        }
        return { head, bodyBytes: end - start, wireBytes: 300 + end - start };
      },
    };
  }
}

function pull(ranges: boolean, loses: (request: number) => boolean) {
  const clock = new VirtualClock();
  const origin = new LosingOrigin(clock, ranges, loses);
  const held = new Set<number>();
  const target = {
    holds: (piece: number) => held.has(piece),
    assemble: (piece: number) => ({
      piece,
      sizeBytes: PIECE_BYTES,
      missing: () => [{ offset: 0, length: PIECE_BYTES }],
      write: () => {},
      finish: async () => {
        held.add(piece);
        return 'verified' as const;
      },
      abort: () => {},
    }),
  };
  const layout = {
    pieceSizeBytes: () => PIECE_BYTES,
    locate: (piece: number) => ({ fileIndex: 0, offset: piece * PIECE_BYTES }),
  };
  const files = [{ url: 'http://origin/', sizeBytes: SIZE_BYTES, validator: {} }];
  const options = { files, headers: {}, ranges, pieceLengthBytes: PIECE_BYTES };
  const grant = { ...GRANT, connections: ranges ? GRANT.connections : 1 };
  const puller = createPuller(grant, 0, options, { http: origin, clock, layout, target });
  puller.start();
  return { clock, origin, held, puller };
}

describe('a pull of which connections end without a word of the origin', () => {
  it('goes on over the others, and never over more than the origin may have open', async () => {
    const { clock, origin, held, puller } = pull(true, (request) => request === 3);
    await clock.run(() => false, SILENT_MS + 10_000);
    expect(puller.unproven().connections).toBe(1);
    expect(puller.unproven().slackBytes).toBeGreaterThan(1_000);
    expect(puller.unproven().slackBytes).toBeLessThan(GRANT.slackBytes);
    const { mostOpen } = origin;
    expect(mostOpen).toBeLessThanOrEqual(GRANT.connections);
    const before = held.size;
    await clock.run(() => false, 5_000);
    expect(held.size).toBeGreaterThan(before);
    expect(origin.mostOpen).toBeLessThanOrEqual(GRANT.connections);
    expect(origin.open).toBeGreaterThan(1);
    expect(puller.fitsGrant()).toBe(true);
  });

  it('ends when it has no place or no slack left, and says what stays open', async () => {
    const { clock, origin, puller } = pull(true, () => true);
    await clock.run(() => false, 8 * SILENT_MS);
    const end = await puller.ended;
    expect(end).toMatchObject({ kind: 'failed', error: { code: 'SourceUnavailable' } });
    await puller.close();
    expect(origin.requests).toBeGreaterThan(1);
    expect(origin.requests).toBeLessThanOrEqual(GRANT.connections);
    expect(puller.unproven().connections).toBe(origin.requests);
    expect(origin.open).toBe(origin.requests);
  });

  it('says what it cuts off when it is closed', async () => {
    const { clock, origin, puller } = pull(true, (request) => request > 10);
    await clock.run(() => origin.requests >= 12, 5_000);
    await puller.close();
    expect(puller.unproven().connections).toBe(origin.open);
    expect(origin.open).toBeGreaterThan(0);
  });

  it('in one stream ends at once, and keeps its reserve', async () => {
    const { clock, origin, puller } = pull(false, () => true);
    await clock.run(() => false, 2 * SILENT_MS);
    const end = await puller.ended;
    expect(end).toMatchObject({ kind: 'failed', error: { code: 'SourceUnavailable' } });
    await puller.close();
    expect(origin.requests).toBe(1);
    expect(puller.unproven()).toEqual({ connections: 1, slackBytes: UNSEEN_BYTES });
  });
});
