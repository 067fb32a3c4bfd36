/** One origin, asked on behalf of one distribution: under leases, only at addresses that may be asked. */
import { isIP } from 'node:net';
import {
  AddressError,
  checkAddress,
  guardedLookup,
} from '@sluice/engine/adapters/http/guardedLookup.ts';
import {
  DEFAULT_HTTP_OPTIONS,
  NodeHttpSource,
} from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import type { HttpSource } from '@sluice/engine/ports/httpSource.ts';
import { PullError } from '@sluice/engine/session/originAnswer.ts';
import type { ProbeResult } from '@sluice/engine/session/originProbe.ts';
import type { Validator } from '@sluice/protocol/messages.ts';
import type { OriginPolicy, SourceRequest } from '../controllers/dataSide.ts';
import type { SourceErrorCode } from '../policies/failures.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import {
  type ChargeRequest,
  LeaseError,
  type LeaseErrorCode,
  type LeaseUse,
} from '../quota/leases.ts';
import { WatchedHttp } from './watchedHttp.ts';

export class SourceError extends Error {
  readonly code: SourceErrorCode;
  readonly httpStatus: number | undefined;

  constructor(code: SourceErrorCode, message: string, httpStatus?: number, cause?: unknown) {
    super(message, { cause });
    this.name = 'SourceError';
    this.code = code;
    this.httpStatus = httpStatus;
  }
}

const CODES: Partial<Record<LeaseErrorCode, SourceErrorCode>> = {
  OriginRequired: 'OriginRequired',
  TrafficExhausted: 'QuotaExhausted',
};

/** The limits, and not the origin, left the request unasked. */
class LimitError extends SourceError {
  readonly untilMs: number | undefined;

  constructor(error: LeaseError) {
    super(CODES[error.code] ?? 'OriginBusy', error.message, undefined, error);
    this.untilMs = error.untilMs;
  }
}

export interface ProbeCharger {
  charge<T>(request: ChargeRequest, signal: AbortSignal, use: LeaseUse<T>): Promise<T>;
}

const ROOM_TIMEOUT_MS = 15_000;

/** What asking takes. */
export type Asker = Pick<SourceAsker, 'url' | 'headers' | 'charge'>;

export class SourceAsker {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly #http: HttpSource;
  readonly #uid: string;
  readonly #allowsPrivate: boolean;
  readonly #charger: ProbeCharger;

  constructor(
    { url, headers, uid }: SourceRequest,
    policies: readonly OriginPolicy[],
    charger: ProbeCharger,
  ) {
    this.url = url;
    this.headers = headers;
    this.#uid = uid;
    this.#allowsPrivate = coveringPolicy(url, policies)?.allowPrivateAddresses ?? false;
    this.#charger = charger;
    this.#http = new NodeHttpSource({
      ...DEFAULT_HTTP_OPTIONS,
      lookup: guardedLookup(this.#allowsPrivate),
    });
  }

  /**
   * `use` runs under a lease over one connection of `http` and so many bytes; `signal` ends the wait
   * for it.
   * Rejects with a SourceError, or when aborted.
   */
  async charge<T>(
    maxBytes: number,
    signal: AbortSignal,
    use: (
      lease: AbortSignal,
      http: HttpSource,
    ) => Promise<{ readonly result: T; readonly usedBytes: number }>,
  ): Promise<T> {
    const { url } = this;
    const room = new AbortController();
    const timer = setTimeout(() => room.abort(busy(url)), ROOM_TIMEOUT_MS);
    try {
      judgeLiteral(url, this.#allowsPrivate);
      return await this.#charger.charge(
        { url, uid: this.#uid, maxBytes },
        AbortSignal.any([signal, room.signal]),
        async (lease, unproven) => {
          clearTimeout(timer);
          const http = new WatchedHttp(this.#http);
          try {
            return await use(lease, http);
          } finally {
            unproven(http.unprovenEnds);
          }
        },
      );
    } catch (error) {
      throw asSourceError(error, url);
    } finally {
      clearTimeout(timer);
    }
  }
}

export interface FoundFile {
  readonly sizeBytes: number;
  readonly validator: Validator;
  readonly ranges: boolean;
}

/** What a probe found; throws what is no file. `path`: of which file, where there are several. */
export function fileOf(probe: ProbeResult, url: string, path?: string): FoundFile {
  if (probe.kind === 'redirect') throw redirected(probe.status, probe.location, path);
  if (probe.kind === 'failed') throw asSourceError(probe.error, url, path);
  const { sizeBytes, ranges } = probe;
  const { etag, lastModified } = probe.validator;
  const validator = {
    ...(etag !== undefined && { etag }),
    ...(lastModified !== undefined && { lastModified }),
  };
  return { sizeBytes, ranges, validator };
}

export function redirected(status: number, location: string, path?: string): SourceError {
  const message = `the origin redirects ${path === undefined ? '' : `'${path}' `}(${status}) to ${shown(location)}; name that URL in spec.source.url, so that the limits of its host hold`;
  return new SourceError('Redirect', message);
}

function busy(url: string): SourceError {
  const message = `the limits of ${new URL(url).host} leave no room for a request now`;
  return new SourceError('OriginBusy', message);
}

function asSourceError(error: unknown, url: string, path?: string): Error {
  if (error instanceof SourceError) return error;
  if (error instanceof LeaseError && error.code === 'LeaseEnded') {
    const late = `${new URL(url).host} did not answer in time`;
    return new SourceError('Timeout', late, undefined, error);
  }
  if (error instanceof LeaseError) return new LimitError(error);
  const address = findAddressError(error);
  if (address !== undefined) return forbidden(address);
  const { message, httpStatus } = error as Error & { httpStatus?: number };
  const tooLarge = error instanceof PullError && error.code === 'SourceTooLarge';
  const unasked = tooLarge ? 'TooLarge' : 'Unreachable';
  const code = httpStatus === undefined ? unasked : 'HttpStatus';
  const where = `${new URL(url).host}${path === undefined ? '' : `, '${path}'`}`;
  return new SourceError(code, `${where}: ${message}`, httpStatus, error);
}

/** The refusal of an address comes as the cause of a connection that failed. */
function findAddressError(error: unknown): AddressError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof AddressError) return cause;
  }
  return undefined;
}

/** A URL with an address instead of a name is not looked up. */
function judgeLiteral(url: string, allowsPrivate: boolean): void {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0) checkAddress(host, host, allowsPrivate);
}

function forbidden(error: AddressError): SourceError {
  const remedy =
    error.verdict === 'private'
      ? '; create an Origin for this host with spec.allowPrivateAddresses: true'
      : '; name another host: Sluice never asks such addresses';
  const message = `spec.source.url: ${error.message}${remedy}`;
  return new SourceError('AddressForbidden', message, undefined, error);
}

/** Without the query: signed URLs carry credentials there. */
function shown(location: string): string {
  return location.split('?')[0]?.slice(0, 200) ?? '';
}
