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
    const rate = rateBefore(samples, sample);
    if (rate !== undefined && rate < floorBytesPerSecond) underMs += sample.atMs - before.atMs;
  }
  return underMs / 1000;
}

export interface RateAt {
  /** After `fromMs`. */
  readonly seconds: number;
  /** Over the second before. */
  readonly bytesPerSecond: number;
}

/** From a second after the first sample on, until `untilMs`. */
export function ratesFrom(
  samples: readonly ReceivedAt[],
  fromMs: number,
  untilMs: number,
): RateAt[] {
  return samples.flatMap((sample) => {
    const bytesPerSecond = rateBefore(samples, sample);
    if (bytesPerSecond === undefined || sample.atMs > untilMs) return [];
    return [{ seconds: (sample.atMs - fromMs) / 1000, bytesPerSecond }];
  });
}

/** Bytes/s; undefined: there are no samples of a second before. */
function rateBefore(samples: readonly ReceivedAt[], { atMs, bytes }: ReceivedAt) {
  const begin = bytesAt(samples, atMs - WINDOW_MS);
  return begin === undefined ? undefined : ((bytes - begin) * 1000) / WINDOW_MS;
}

/** Between two readings the counter is taken to grow evenly; undefined before the first. */
function bytesAt(samples: readonly ReceivedAt[], atMs: number): number | undefined {
  const next = samples.findIndex((sample) => sample.atMs >= atMs);
  const [before, after] = [samples[next - 1], samples[next]];
  if (before === undefined || after === undefined) return undefined;
  const part = (atMs - before.atMs) / (after.atMs - before.atMs);
  return before.bytes + part * (after.bytes - before.bytes);
}
