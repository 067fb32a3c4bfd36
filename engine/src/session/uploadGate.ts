import type { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Clock } from '../ports/clock.ts';

/** What the bucket is asked again after, at the latest: its limit may be another one by then. */
const LONGEST_WAIT_MS = 1000;

/**
 * Waits, first come first served, until the shared upload bucket lets so many bytes through; for
 * the relay's HTTP, beside BitTorrent's own round-robin on the same bucket. Who is aborted waits no
 * longer, spends nothing, and keeps nobody behind it waiting.
 */
export function uploadGate(
  bucket: TokenBucket,
  clock: Clock,
): (bytes: number, signal: AbortSignal) => Promise<void> {
  let turn: Promise<void> = Promise.resolve();
  let waiting = 0;
  const pass = async (bytes: number, signal: AbortSignal): Promise<void> => {
    while (!signal.aborted && !bucket.spend(bytes, clock.now())) {
      const waitMs = Math.min(LONGEST_WAIT_MS, Math.max(1, bucket.waitMs(1, clock.now())));
      await untilAborted(signal, (done) => {
        const timer = clock.setTimer(waitMs, done);
        return () => timer.cancel();
      });
    }
    waiting -= 1;
  };
  return async (bytes, signal) => {
    if (signal.aborted) return;
    if (waiting === 0 && bucket.spend(bytes, clock.now())) return;
    waiting += 1;
    turn = turn.then(() => pass(bytes, signal));
    const passed = turn;
    await untilAborted(signal, (done) => void passed.then(done));
  };
}

/** Resolves when what is begun is done, or when aborted; then it is given up. */
function untilAborted(
  signal: AbortSignal,
  begin: (done: () => void) => (() => void) | undefined,
): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      signal.removeEventListener('abort', finish);
      giveUp?.();
      resolve();
    };
    const giveUp = begin(finish);
    signal.addEventListener('abort', finish, { once: true });
  });
}
