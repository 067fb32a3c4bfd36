/** What an origin's meter says of a limit. PURE. */
import type { MeterStats } from '../../e2e/origin/origin.ts';

/** [millisecond, bytes] of each millisecond in which something was written, in order. */
export type Written = MeterStats['perMillisecond'];

/**
 * The most in any second: 1,001 buckets of a millisecond, since one that begins within the first
 * ends within the last.
 */
export function worstSecond(written: Written): number {
  let sum = 0;
  let worst = 0;
  let from = 0;
  for (const [millisecond, bytes] of written) {
    sum += bytes;
    for (;;) {
      const [first, leaving] = written[from] ?? [millisecond, 0];
      if (millisecond - first <= 1000) break;
      sum -= leaving;
      from += 1;
    }
    worst = Math.max(worst, sum);
  }
  return worst;
}

/** Bytes per second between two times in milliseconds. */
export function rateBetween(written: Written, fromMs: number, untilMs: number): number {
  let sum = 0;
  for (const [millisecond, bytes] of written) {
    if (millisecond >= fromMs && millisecond < untilMs) sum += bytes;
  }
  return (sum * 1000) / (untilMs - fromMs);
}
