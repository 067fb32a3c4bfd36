import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { noHistory, type TrafficHistory, takenSince, withTaken } from './trafficHistory.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NOW_MS = 20_000 * DAY_MS;

function historyOf(taken: readonly (readonly [bytes: number, agoMs: number])[]): TrafficHistory {
  return taken.reduce(
    (history, [bytes, agoMs]) => withTaken(history, bytes, NOW_MS - agoMs),
    noHistory,
  );
}

describe('what was taken when', () => {
  it('is known by the hour for two days, and by the day before', () => {
    const history = historyOf([
      [1, 100.5 * DAY_MS],
      [20, 100.4 * DAY_MS],
      [300, 30 * HOUR_MS],
      [4_000, HOUR_MS / 2],
      [50_000, 0],
    ]);
    expect(takenSince(history, NOW_MS)).toBe(50_000);
    expect(takenSince(history, NOW_MS - HOUR_MS / 4)).toBe(54_000);
    expect(takenSince(history, NOW_MS - 29 * HOUR_MS)).toBe(54_000);
    expect(takenSince(history, NOW_MS - 31 * HOUR_MS)).toBe(54_300);
    expect(takenSince(history, NOW_MS - 99 * DAY_MS)).toBe(54_300);
    expect(takenSince(history, NOW_MS - 101 * DAY_MS)).toBe(54_321);
  });

  it('stays in the hour that is the latest when a clock is set back', () => {
    const history = historyOf([
      [1, 0],
      [2, 5 * HOUR_MS],
    ]);
    expect(takenSince(history, NOW_MS)).toBe(3);
  });

  it('is never less than what was taken since then, and is bounded', () => {
    const steps = fc.array(
      fc.record({ bytes: fc.nat(100), afterMs: fc.integer({ min: 0, max: 5 * DAY_MS }) }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(steps, fc.nat(366 * 24), (list, hours) => {
        let now = NOW_MS;
        let history = noHistory;
        const taken: { atMs: number; bytes: number }[] = [];
        for (const { bytes, afterMs } of list) {
          now += afterMs;
          history = withTaken(history, bytes, now);
          taken.push({ atMs: now, bytes });
        }
        const fromMs = now - hours * HOUR_MS;
        const since = taken.filter(({ atMs }) => atMs >= fromMs);
        const bytes = since.reduce((sum, each) => sum + each.bytes, 0);
        expect(takenSince(history, fromMs)).toBeGreaterThanOrEqual(bytes);
        expect(history.hours.length).toBeLessThanOrEqual(48);
        expect(history.days.length).toBeLessThanOrEqual(370);
      }),
    );
  });
});
