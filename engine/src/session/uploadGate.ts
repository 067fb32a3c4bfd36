import type { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Clock } from '../ports/clock.ts';

/**
 * Waits, first come first served, until the shared upload bucket lets so many bytes through; for
 * the relay's HTTP, beside BitTorrent's own round-robin on the same bucket.
 */
export function uploadGate(
  bucket: TokenBucket,
  clock: Clock,
): (bytes: number, signal: AbortSignal) => Promise<void> {
  let turn: Promise<void> = Promise.resolve();
  const pass = async (bytes: number, signal: AbortSignal): Promise<void> => {
    while (!signal.aborted && !bucket.spend(bytes, clock.now())) {
      const waitMs = Math.min(1000, Math.max(1, bucket.waitMs(1, clock.now())));
      await new Promise<void>((resolve) => clock.setTimer(waitMs, resolve));
    }
  };
  return (bytes, signal) => {
    turn = turn.then(() => pass(bytes, signal));
    return turn;
  };
}
