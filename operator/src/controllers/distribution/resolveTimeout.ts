import type { Clock } from '@sluice/engine/ports/clock.ts';

/** Asking an origin for a head takes a round trip; a slow one gets this long. */
const RESOLVE_TIMEOUT_MS = 30_000;
/** A thousand round trips of 300 ms. */
const RESOLVE_SET_TIMEOUT_MS = 300_000;

/** Rejects with a ResolveTimeout when there is no answer in time. */
export async function resolveWithin<T>(
  { url, isSet, clock }: { readonly url: string; readonly isSet: boolean; readonly clock: Clock },
  signal: AbortSignal,
  resolve: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = new AbortController();
  const timeoutMs = resolveTimeoutMs(isSet);
  const timer = clock.setTimer(timeoutMs, () => timeout.abort());
  try {
    return await resolve(AbortSignal.any([signal, timeout.signal]));
  } catch (error) {
    if (signal.aborted || !timeout.signal.aborted) throw error;
    throw new ResolveTimeout(url, timeoutMs, error);
  } finally {
    timer.cancel();
  }
}

function resolveTimeoutMs(isSet: boolean): number {
  return isSet ? RESOLVE_SET_TIMEOUT_MS : RESOLVE_TIMEOUT_MS;
}

class ResolveTimeout extends Error {
  readonly code = 'Timeout';

  constructor(url: string, timeoutMs: number, cause: unknown) {
    super(`${new URL(url).host} did not answer within ${timeoutMs / 1000} s`, { cause });
    this.name = 'ResolveTimeout';
  }
}
