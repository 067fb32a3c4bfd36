import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Claim, maxMin, rateWithin, shares, slackFor } from './allocate.ts';

const MIB = 1024 * 1024;

function claim(id: string, change: Partial<Claim> = {}): Claim {
  return {
    id,
    weight: 1,
    wantRateBytesPerSecond: 1e10,
    wantConnections: 8,
    timeToFirstByteMs: 20,
    ...change,
  };
}

const claims = fc
  .array(
    fc.record({
      weight: fc.integer({ min: 1, max: 100 }),
      wantRateBytesPerSecond: fc.integer({ min: 1, max: 1e9 }),
      wantConnections: fc.integer({ min: 1, max: 64 }),
      timeToFirstByteMs: fc.option(fc.nat(2_000), { nil: undefined }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((list) => list.map((each, at) => ({ ...each, id: `c${at}` })));

describe('sharing an origin', () => {
  it('gives no more than there is, slack included, and nobody more than he wants', () => {
    const limits = fc.record({
      windowBytes: fc.integer({ min: 1, max: 1e9 }),
      connections: fc.integer({ min: 1, max: 100 }),
    });
    fc.assert(
      fc.property(claims, limits, (list, total) => {
        const given = shares(list, total);
        let windowBytes = 0;
        let connections = 0;
        for (const { id, timeToFirstByteMs, wantRateBytesPerSecond, wantConnections } of list) {
          const share = given.get(id);
          const rate = share?.rateBytesPerSecond ?? Number.NaN;
          expect(rate).toBeLessThanOrEqual(wantRateBytesPerSecond);
          expect(share?.connections).toBeLessThanOrEqual(wantConnections);
          if (rate > 0) windowBytes += rate + slackFor(rate, timeToFirstByteMs);
          connections += share?.connections ?? Number.NaN;
        }
        // A byte a claim, for rounding up.
        expect(windowBytes).toBeLessThanOrEqual(total.windowBytes + list.length);
        expect(connections).toBeLessThanOrEqual(total.connections);
      }),
    );
  });

  it('uses 95 % of the limit at 20 ms, however many share it', () => {
    for (const count of [1, 2, 5]) {
      const list = Array.from({ length: count }, (_, at) => claim(`c${at}`));
      const given = [...shares(list, { windowBytes: 20 * MIB, connections: 8 }).values()];
      const rate = given.reduce((sum, { rateBytesPerSecond }) => sum + rateBytesPerSecond, 0);
      expect(rate / (20 * MIB)).toBeGreaterThanOrEqual(0.95);
    }
  });

  it('gives what one does not want to the others, by their weights', () => {
    const list = [
      claim('little', { wantRateBytesPerSecond: MIB }),
      claim('one'),
      claim('three', { weight: 3 }),
    ];
    const given = shares(list, { windowBytes: 9 * MIB, connections: 9 });
    const rateOf = (id: string) => given.get(id)?.rateBytesPerSecond ?? 0;
    expect(rateOf('little')).toBe(MIB);
    expect(rateOf('three') / rateOf('one')).toBeCloseTo(3, 2);
    expect(rateOf('three') + rateOf('one')).toBeGreaterThan(7.5 * MIB);
  });

  it('gives connections that cannot be shared evenly to those who asked first', () => {
    const list = [claim('a'), claim('b'), claim('c')];
    const given = shares(list, { windowBytes: MIB, connections: 2 });
    expect([...given.values()].map(({ connections }) => connections)).toEqual([1, 1, 0]);
  });

  it('is max-min fair: who gets less than he wants gets no less, by weight, than anybody', () => {
    const wants = fc.array(
      fc.record({ weight: fc.integer({ min: 1, max: 9 }), want: fc.nat(1000) }),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(wants, fc.nat(3000), (list, total) => {
        const given = maxMin(list, total);
        const sum = given.reduce((all, each) => all + each, 0);
        const wanted = list.reduce((all, { want }) => all + want, 0);
        expect(sum).toBeCloseTo(Math.min(total, wanted), 6);
        for (const [at, { want, weight }] of list.entries()) {
          const own = given[at] ?? Number.NaN;
          if (own >= want - 1e-6) continue;
          for (const [other, { weight: theirs }] of list.entries()) {
            const level = (given[other] ?? Number.NaN) / theirs;
            expect(own / weight).toBeGreaterThanOrEqual(level - 1e-6);
          }
        }
      }),
    );
  });
});

describe('the rate within a window', () => {
  it('leaves room for its slack, and little besides', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1e9 }), fc.nat(1_000), (windowBytes, latencyMs) => {
        const rate = rateWithin(windowBytes, latencyMs);
        if (rate > 0) expect(rate + slackFor(rate, latencyMs)).toBeLessThanOrEqual(windowBytes);
        const more = rate * 1.01 + 10;
        expect(more + slackFor(more, latencyMs)).toBeGreaterThan(windowBytes);
      }),
    );
  });
});
