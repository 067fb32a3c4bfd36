const FIRST_MS = 200;
const LONGEST_MS = 5_000;
/** Of reports: where so few nodes are that they send them so often, nothing needs to be spread. */
const SHORTEST_INTERVAL_MS = 1_000;

/**
 * How long to wait after the nth failure in a row (from 0): doubling from 0.2 s to 5 s, of which
 * a half is random, so that thousands of nodes do not return in step.
 */
export function backoffMs(failures: number, random: number): number {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures, 16));
  return Math.max(FIRST_MS, full * (0.5 + random / 2));
}

/**
 * Over how long agents spread what all of them would do at once: they report the more rarely the
 * more they are.
 */
export function spreadOverMs(reportIntervalMs: number): number {
  return Math.max(0, reportIntervalMs - SHORTEST_INTERVAL_MS);
}
