/**
 * Asks an origin what a file is: under a lease like every other request, only at addresses that
 * may be asked, and without following where it points.
 */
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
import { MAX_PROBE_BYTES, probeOrigin } from '@sluice/engine/session/originProbe.ts';
import type { OriginPolicy, ResolvedSource, SourceRequest } from '../controllers/dataSide.ts';
import type { SourceErrorCode } from '../policies/failures.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import { type ChargeRequest, LeaseError, type LeaseErrorCode } from '../quota/leases.ts';

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
  charge<T>(
    request: ChargeRequest,
    signal: AbortSignal,
    use: (lease: AbortSignal) => Promise<{ readonly result: T; readonly usedBytes: number }>,
  ): Promise<T>;
}

const ROOM_TIMEOUT_MS = 15_000;

export async function resolveSource(
  request: SourceRequest,
  policies: readonly OriginPolicy[],
  charger: ProbeCharger,
  signal: AbortSignal,
): Promise<ResolvedSource> {
  const { url, headers, uid } = request;
  const allowsPrivate = coveringPolicy(url, policies)?.allowPrivateAddresses ?? false;
  const http = new NodeHttpSource({
    ...DEFAULT_HTTP_OPTIONS,
    lookup: guardedLookup(allowsPrivate),
  });
  const room = new AbortController();
  const timer = setTimeout(() => room.abort(busy(url)), ROOM_TIMEOUT_MS);
  const ask = async (lease: AbortSignal) => {
    clearTimeout(timer);
    const probe = await probeOrigin(url, headers, http, AbortSignal.any([signal, lease]));
    return { result: probe, usedBytes: probe.usedBytes };
  };
  try {
    judgeLiteral(url, allowsPrivate);
    const charge = { url, uid, maxBytes: MAX_PROBE_BYTES };
    const probe = await charger.charge(charge, AbortSignal.any([signal, room.signal]), ask);
    if (probe.kind === 'failed') throw probe.error;
    if (probe.kind === 'redirect') {
      const message = `the origin redirects (${probe.status}) to ${shown(probe.location)}: name that URL in spec.source.url, so that the limits of its host hold`;
      throw new SourceError('Redirect', message, undefined);
    }
    const { sizeBytes, ranges } = probe;
    const { etag, lastModified } = probe.validator;
    const validator = {
      ...(etag !== undefined && { etag }),
      ...(lastModified !== undefined && { lastModified }),
    };
    return { sizeBytes, validator, ranges };
  } catch (error) {
    throw asSourceError(error, url);
  } finally {
    clearTimeout(timer);
  }
}

function busy(url: string): SourceError {
  const message = `the limits of ${new URL(url).host} leave no room for a request now`;
  return new SourceError('OriginBusy', message);
}

function asSourceError(error: unknown, url: string): Error {
  if (error instanceof SourceError) return error;
  if (error instanceof LeaseError && error.code === 'LeaseEnded') {
    const late = `${new URL(url).host} did not answer in time`;
    return new SourceError('Timeout', late, undefined, error);
  }
  if (error instanceof LeaseError) {
    return new LimitError(error);
  }
  const address = findAddressError(error);
  if (address !== undefined) return forbidden(address);
  const { message, httpStatus } = error as Error & { httpStatus?: number };
  const code = httpStatus === undefined ? 'Unreachable' : 'HttpStatus';
  return new SourceError(code, `${new URL(url).host}: ${message}`, httpStatus, error);
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
      ? ': create an Origin for this host with spec.allowPrivateAddresses: true'
      : ', which Sluice never asks';
  const message = `spec.source.url: ${error.message}${remedy}`;
  return new SourceError('AddressForbidden', message, undefined, error);
}

/** Without the query: signed URLs carry credentials there. */
function shown(location: string): string {
  return location.split('?')[0]?.slice(0, 200) ?? '';
}
