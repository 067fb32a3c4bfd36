import { describe, expect, it } from 'vitest';
import type { MeteredRequest } from '../../e2e/origin/origin.ts';
import { type CrashRun, firstSecondWith, lostHolderFigures, shareOf } from './lostHolderFigures.ts';

/** So many bytes in each millisecond. */
function written(fromMs: number, untilMs: number, bytes: number): [number, number][] {
  return Array.from({ length: untilMs - fromMs }, (_, at) => [fromMs + at, bytes]);
}

describe('the first second with so many bytes', () => {
  it('is the one that begins as soon as it can hold them', () => {
    const stats = [...written(0, 3000, 5), ...written(3000, 5000, 10)];
    // 200 milliseconds at half the rate, 800 at the whole of it.
    expect(firstSecondWith(stats, 1000, 9_000)).toBe(2800);
  });

  it('does not begin before it was asked for', () => {
    expect(firstSecondWith(written(0, 3000, 10), 1000.5, 10_000)).toBe(1001);
  });

  it('is whole', () => {
    expect(firstSecondWith(written(0, 999, 20), 0, 10_000)).toBeUndefined();
  });
});

describe('the share of one address', () => {
  const request = (address: string, firstByteMs: number, endMs: number | undefined) =>
    ({
      client: `${address}:50000`,
      firstByteMs,
      bytes: 100,
      timeMs: 0,
      ...(endMs && { endMs }),
    }) as MeteredRequest;

  it('counts answers by the part of them that is within', () => {
    const requests = [request('a', 900, 1100), request('b', 1000, 1100), request('b', 0, 500)];
    expect(shareOf('b', requests, 1000, 2000)).toBeCloseTo(2 / 3);
  });

  it('takes an answer that goes on to fill the time', () => {
    const requests = [request('a', 1500, undefined), request('b', 1000, 2000)];
    expect(shareOf('a', requests, 1000, 2000)).toBeCloseTo(0.5);
  });
});

describe('figures', () => {
  const limits = {
    maxConnections: 4,
    maxBandwidth: 100,
    maxTraffic: { bytes: 1000, period: '24h' },
  };
  const run: CrashRun = {
    victim: 'relay',
    pod: 'relay-1',
    isFirstCrash: true,
    heldShare: 0.5,
    reaction: { heard: 1, closed: 2, leased: 2, inUse: 2.5 },
    usedShares: [0.9, 0.9, 0.9, 0.9],
    leasedShares: [0.95, 0.95, 0.95, 0.95],
    usedShareAfter: 0.9,
    restartedShare: 0,
    aliveBytes: 50,
    chargedBytes: 150,
    originBytes: 100,
    maxWindowBytes: 100,
    peakConnections: 4,
    cpuBusyShare: 0.5,
  };
  const failed = (...runs: CrashRun[]) =>
    lostHolderFigures(runs, limits)
      .filter(({ holds }) => holds === false)
      .map(({ name }) => name);

  it('hold at their limits', () => {
    expect(failed(run)).toEqual([]);
  });

  it.each<[Partial<CrashRun>, string]>([
    [{ reaction: { inUse: 3.1 } }, 'relay, back at once: until 90 % is in use again'],
    [{ reaction: {}, isFirstCrash: false }, 'relay, back later: until 90 % is in use again'],
    [{ reaction: {} }, 'relay, back at once: until 90 % is in use again'],
    [{ chargedBytes: 151 }, 'relay killed: charged and not taken / leases alive'],
    [{ chargedBytes: 99 }, 'relay killed: taken and not charged'],
    [{ maxWindowBytes: 101 }, 'highest second at the origin / maxBandwidth'],
    [{ peakConnections: 5 }, 'highest number of connections / maxConnections'],
  ])('fail by one run: %j', (changed, name) => {
    expect(failed(run, { ...run, ...changed })).toEqual([name]);
  });
});
