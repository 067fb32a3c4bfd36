import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TokenBucket } from './tokenBucket.ts';

describe('the token bucket', () => {
  it('starts empty and fills at its rate up to its capacity', () => {
    const bucket = new TokenBucket({ rateBytesPerSecond: 1000, capacityBytes: 100 }, 0);
    expect(bucket.available(0)).toBe(0);
    expect(bucket.spend(1, 0)).toBe(false);
    expect(bucket.available(50)).toBe(50);
    expect(bucket.available(5000)).toBe(100);
  });

  it('says how long to wait, never for more than it can hold', () => {
    const bucket = new TokenBucket({ rateBytesPerSecond: 1000, capacityBytes: 100 }, 0);
    expect(bucket.waitMs(10, 0)).toBe(10);
    expect(bucket.waitMs(1_000_000, 0)).toBe(100);
    expect(bucket.waitMs(10, 60)).toBe(0);
  });

  it('never says yes at a rate of zero and always without a limit', () => {
    const closed = new TokenBucket({ rateBytesPerSecond: 0, capacityBytes: 100 }, 0);
    expect(closed.waitMs(1, 1e9)).toBe(Number.POSITIVE_INFINITY);
    expect(closed.spend(1, 1e9)).toBe(false);
    const open = new TokenBucket({ rateBytesPerSecond: undefined, capacityBytes: 100 }, 0);
    expect(open.waitMs(1e12, 0)).toBe(0);
    expect(open.spend(1e12, 0)).toBe(true);
    open.setLimit({ rateBytesPerSecond: 1000, capacityBytes: 100 }, 10);
    expect(open.available(10)).toBe(0);
  });

  it('lets no window have more than rate x window + capacity + one message', () => {
    const step = fc.record({ afterMs: fc.nat(200), bytes: fc.integer({ min: 1, max: 500 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const bucket = new TokenBucket({ rateBytesPerSecond: 2000, capacityBytes: 300 }, 0);
        const spent: { atMs: number; bytes: number }[] = [];
        let nowMs = 0;
        for (const { afterMs, bytes } of steps) {
          nowMs += afterMs;
          if (bucket.spend(bytes, nowMs)) spent.push({ atMs: nowMs, bytes });
        }
        for (const [start, { atMs }] of spent.entries()) {
          let sum = 0;
          for (const later of spent.slice(start)) {
            sum += later.bytes;
            expect(sum).toBeLessThanOrEqual((2000 * (later.atMs - atMs)) / 1000 + 300 + 500);
          }
        }
      }),
    );
  });
});
