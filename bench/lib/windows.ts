/** Speed over the last second, from a counter that was read now and then. PURE. */

export interface ReceivedAt {
  readonly atMs: number;
  /** Cumulative. */
  readonly bytes: number;
}

const WINDOW_MS = 1000;

/**
 * For how many seconds between `fromMs` and `untilMs` the second before was under the floor. What
 * is due at the end of a file is less than the floor, so the window that holds its end is left out.
 */
export function secondsUnder(
  samples: readonly ReceivedAt[],
  floorBytesPerSecond: number,
  fromMs: number,
  untilMs: number,
): number {
  let underMs = 0;
  for (const [at, sample] of samples.entries()) {
    const before = samples[at - 1];
    if (before === undefined || before.atMs < fromMs || sample.atMs > untilMs) continue;
    const begin = bytesAt(samples, sample.atMs - WINDOW_MS);
    if (begin === undefined) continue;
    const rate = ((sample.bytes - begin) * 1000) / WINDOW_MS;
    if (rate < floorBytesPerSecond) underMs += sample.atMs - before.atMs;
  }
  return underMs / 1000;
}

/** Between two readings the counter is taken to grow evenly; undefined before the first. */
function bytesAt(samples: readonly ReceivedAt[], atMs: number): number | undefined {
  const next = samples.findIndex((sample) => sample.atMs >= atMs);
  const [before, after] = [samples[next - 1], samples[next]];
  if (before === undefined || after === undefined) return undefined;
  const part = (atMs - before.atMs) / (after.atMs - before.atMs);
  return before.bytes + part * (after.bytes - before.bytes);
}
