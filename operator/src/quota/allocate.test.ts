import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Claim,
  maxMin,
  type PurposedClaim,
  rateWithin,
  shares,
  sharesByPurpose,
  slackFor,
} from './allocate.ts';

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
          const own = share?.connections ?? Number.NaN;
          expect(rate).toBeLessThanOrEqual(wantRateBytesPerSecond);
          expect(own).toBeLessThanOrEqual(wantConnections);
          if (rate > 0) windowBytes += rate + slackFor(rate, timeToFirstByteMs, own);
          connections += own;
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

  it('keeps no bytes for those who wait for a connection', () => {
    const list = Array.from({ length: 12 }, (_, at) => claim(`c${at}`));
    const given = [...shares(list, { windowBytes: 20 * MIB, connections: 8 }).values()];
    expect(given.filter(({ connections }) => connections === 1)).toHaveLength(8);
    const rate = given.reduce((sum, { rateBytesPerSecond }) => sum + rateBytesPerSecond, 0);
    expect(rate / (20 * MIB)).toBeGreaterThanOrEqual(0.92);
    for (const { rateBytesPerSecond, connections } of given) {
      expect(rateBytesPerSecond > 0).toBe(connections > 0);
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
  const connections = fc.integer({ min: 1, max: 64 });

  it('leaves room for its slack, and none for more', () => {
    // Half of them small: there the smallest quantum counts.
    const windows = fc.oneof(fc.integer({ min: 1, max: 1e5 }), fc.integer({ min: 1, max: 1e9 }));
    fc.assert(
      fc.property(windows, fc.nat(1_000), connections, (windowBytes, latencyMs, count) => {
        const rate = rateWithin(windowBytes, latencyMs, count);
        if (rate > 0) {
          expect(rate + slackFor(rate, latencyMs, count)).toBeLessThanOrEqual(windowBytes);
        }
        const more = rate + 3;
        expect(more + slackFor(more, latencyMs, count)).toBeGreaterThan(windowBytes);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([0, 10, 20, 22])('is 95 % of the window where answers begin after %i ms', (latencyMs) => {
    for (const count of [1, 2, 8, 64]) {
      expect(rateWithin(1e8, latencyMs, count) / 1e8).toBeGreaterThanOrEqual(0.951);
    }
    expect(rateWithin(1e8, 100, 8) / 1e8).toBeGreaterThan(1 / 1.132);
  });

  it('has slack enough for its connections, however few, to keep it up while answers are awaited', () => {
    fc.assert(
      fc.property(fc.nat(500), connections, (latencyMs, count) => {
        const rate = 1e8;
        // Each connection has a request for this part of the slack under way.
        const underWay = (slackFor(rate, latencyMs, count) * count) / (count + 1);
        expect(underWay).toBeGreaterThanOrEqual((rate * latencyMs) / 1000);
      }),
    );
  });
});

describe('sharing between pulls and top-up', () => {
  const pull = (id: string): PurposedClaim => ({ ...claim(id), purpose: 'pull', isHolding: true });
  const node = (id: string, isHolding = false): PurposedClaim => ({
    ...claim(id, { wantRateBytesPerSecond: MIB, wantConnections: 1 }),
    purpose: 'topUp',
    isHolding,
  });
  const limits = { windowBytes: 100 * MIB, connections: 10 };
  const nodes = (count: number) => Array.from({ length: count }, (_, at) => node(`n${at}`));

  it('leaves pulls nine tenths while nodes want more than the tenth', () => {
    const given = sharesByPurpose([pull('r'), ...nodes(50)], limits);
    const pulled = given.get('r');
    expect(pulled?.rateBytesPerSecond).toBeGreaterThan(0.85 * limits.windowBytes);
    expect(pulled?.connections).toBe(8);
    // What the pull does not want of the connections is theirs.
    expect([...given.keys()]).toEqual(['r', 'n0', 'n1']);
    for (const id of ['n0', 'n1']) expect(given.get(id)).toMatchObject({ connections: 1 });
  });

  it('gives pulls everything while no node wants anything', () => {
    const given = sharesByPurpose([pull('r')], limits);
    expect(given).toEqual(shares([pull('r')], limits));
  });

  it('gives nodes everything while nobody pulls, those first that have a lease', () => {
    const given = sharesByPurpose([...nodes(12), node('holding', true)], limits);
    expect(given.size).toBe(10);
    expect(given.get('holding')?.connections).toBe(1);
    expect(given.get('n8')?.connections).toBe(1);
    expect(given.has('n9')).toBe(false);
    for (const { rateBytesPerSecond } of given.values()) expect(rateBytesPerSecond).toBe(MIB);
  });

  it('lets no more nodes have a turn than there is bandwidth worth one', () => {
    const given = sharesByPurpose(nodes(10), { windowBytes: 200_000, connections: 10 });
    expect(given.size).toBe(3);
  });

  it('never gives more than there is', () => {
    const kinds = fc.array(fc.boolean(), { minLength: 12, maxLength: 12 });
    const total = fc.record({
      windowBytes: fc.integer({ min: 1, max: 1e9 }),
      connections: fc.integer({ min: 1, max: 100 }),
    });
    fc.assert(
      fc.property(claims, kinds, total, (list, pulls, all) => {
        const purposed = list.map((each, at): PurposedClaim => {
          const purpose = pulls[at] === true ? 'pull' : 'topUp';
          return { ...each, purpose, isHolding: at % 2 === 0 };
        });
        let windowBytes = 0;
        let connections = 0;
        for (const [id, share] of sharesByPurpose(purposed, all)) {
          const { timeToFirstByteMs } = purposed.find((each) => each.id === id) as Claim;
          const { rateBytesPerSecond: rate, connections: own } = share;
          if (rate > 0) windowBytes += rate + slackFor(rate, timeToFirstByteMs, own);
          connections += own;
        }
        expect(windowBytes).toBeLessThanOrEqual(all.windowBytes + 2 * list.length);
        expect(connections).toBeLessThanOrEqual(all.connections);
      }),
    );
  });
});
