/** Asking an origin for a head takes a round trip; a slow one gets this long. */
export const RESOLVE_TIMEOUT_MS = 30_000;

export class ResolveTimeout extends Error {
  readonly code = 'Timeout';

  constructor(url: string, cause: unknown) {
    super(`${new URL(url).host} did not answer within ${RESOLVE_TIMEOUT_MS / 1000} s`, { cause });
    this.name = 'ResolveTimeout';
  }
}
