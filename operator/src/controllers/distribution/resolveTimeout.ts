/** Asking an origin for a head takes a round trip; a slow one gets this long. */
const RESOLVE_TIMEOUT_MS = 30_000;
/** A thousand round trips of 300 ms. */
const RESOLVE_SET_TIMEOUT_MS = 300_000;

export function resolveTimeoutMs(isSet: boolean): number {
  return isSet ? RESOLVE_SET_TIMEOUT_MS : RESOLVE_TIMEOUT_MS;
}

export class ResolveTimeout extends Error {
  readonly code = 'Timeout';

  constructor(url: string, timeoutMs: number, cause: unknown) {
    super(`${new URL(url).host} did not answer within ${timeoutMs / 1000} s`, { cause });
    this.name = 'ResolveTimeout';
  }
}
