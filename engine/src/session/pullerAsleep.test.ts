import { describe, expect, it } from 'vitest';
import type { Clock } from '../ports/clock.ts';
import type { HttpSource } from '../ports/httpSource.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { createPuller } from './originPuller.ts';

const PIECE_BYTES = 65_536;
const PIECES = 1_000;
const SIZE_BYTES = PIECES * PIECE_BYTES;
const ANSWER_MS = 20;
const GRANT = {
  rateBytesPerSecond: 1_000_000,
  slackBytes: 100_000,
  connections: 2,
  maxBytes: SIZE_BYTES * 2,
  ttlMs: 10_000,
  extents: [{ first: 0, count: PIECES }],
};

/** Its machine sleeps when a test says so: time passes, and timers stand still. */
class SleepingClock implements Clock {
  readonly awake = new VirtualClock();
  sleptMs = 0;

  now(): number {
    return this.awake.now() + this.sleptMs;
  }

  setTimer(delayMs: number, callback: () => void) {
    return this.awake.setTimer(delayMs, callback);
  }
}

function pull(clock: SleepingClock, ranges: boolean) {
  const asked: number[] = [];
  const pass = (ms: number) => new Promise<void>((resolve) => clock.setTimer(ms, resolve));
  const http: HttpSource = {
    connection: () => ({
      close: async () => {},
      unprovenEnds: 0,
      unaskedBytes: 0,
      request: async ({ range = { start: 0, end: SIZE_BYTES }, onHead, onChunk }, signal) => {
        const { start, end } = range;
        asked.push(clock.now());
        await pass(ANSWER_MS);
        const headers = { 'content-range': `bytes ${start}-${end - 1}/${SIZE_BYTES}` };
        const status = ranges ? 206 : 200;
        const head = { status, headers, headerBytes: 300, timeToHeadMs: ANSWER_MS };
        onHead(head);
        for (let at = start; at < end && !signal.aborted; at += PIECE_BYTES) {
          await onChunk(new Uint8Array(Math.min(PIECE_BYTES, end - at)));
        }
        return { head, bodyBytes: end - start, wireBytes: 300 + end - start };
      },
    }),
  };
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
  const dependencies = { http, clock, layout, target };
  return { asked, held, puller: createPuller(GRANT, 0, options, dependencies) };
}

describe.each([
  ['a pull of ranges', true],
  ['a pull of a stream', false],
])('%s on a machine that sleeps', (_, ranges) => {
  it('goes on when it wakes up in time', async () => {
    const clock = new SleepingClock();
    const { held, puller } = pull(clock, ranges);
    puller.start();
    await clock.awake.run(() => false, 1_000);
    const before = held.size;
    clock.sleptMs = 3_000;
    await clock.awake.run(() => false, 1_000);
    expect(held.size).toBeGreaterThan(before);
  });

  it('asks for nothing and ends when its lease is over by then', async () => {
    const clock = new SleepingClock();
    const { asked, held, puller } = pull(clock, ranges);
    puller.start();
    await clock.awake.run(() => false, 1_000);
    const before = { asked: asked.length, held: held.size };
    expect(before.held).toBeGreaterThan(0);
    clock.sleptMs = 60_000;
    await clock.awake.run(() => false, 200);
    expect(await puller.ended).toEqual({ kind: 'stopped', reason: 'expiry' });
    expect(asked).toHaveLength(before.asked);
    // What was under way may still come.
    expect(held.size - before.held).toBeLessThanOrEqual(4);
  });
});
