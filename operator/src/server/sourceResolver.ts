/**
 * Asks an origin what a file is: under a lease like every other request, only at addresses that
 * may be asked, and without following where it points.
 */
import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import {
  DEFAULT_HTTP_OPTIONS,
  NodeHttpSource,
} from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { MAX_PROBE_BYTES, probeOrigin } from '@sluice/engine/session/originProbe.ts';
import type { OriginPolicy, ResolvedSource, SourceRequest } from '../controllers/dataSide.ts';
import type { SourceErrorCode } from '../policies/source.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import { type ChargeRequest, LeaseError } from '../quota/leases.ts';
import { judgeAddress } from './addresses.ts';

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

export interface ProbeCharger {
  charge<T>(
    request: ChargeRequest,
    signal: AbortSignal,
    use: () => Promise<{ readonly result: T; readonly usedBytes: number }>,
  ): Promise<T>;
}

const ROOM_TIMEOUT_MS = 15_000;
const PROBE_TIMEOUT_MS = 20_000;

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
  judgeLiteral(url, allowsPrivate);
  const room = new AbortController();
  const timer = setTimeout(() => room.abort(busy(url)), ROOM_TIMEOUT_MS);
  const ask = async () => {
    clearTimeout(timer);
    const limit = AbortSignal.timeout(PROBE_TIMEOUT_MS);
    const probe = await probeOrigin(url, headers, http, AbortSignal.any([signal, limit]));
    return { result: probe, usedBytes: probe.usedBytes };
  };
  try {
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
  return new SourceError('QuotaExhausted', message);
}

function asSourceError(error: unknown, url: string): Error {
  if (error instanceof SourceError) return error;
  if (error instanceof LeaseError) {
    const code = error.code === 'OriginRequired' ? 'OriginRequired' : 'QuotaExhausted';
    return new SourceError(code, error.message, undefined, error);
  }
  const guarded = findSourceError(error);
  if (guarded !== undefined) return guarded;
  const { name, message, httpStatus } = error as Error & { httpStatus?: number };
  if (name === 'TimeoutError') {
    const late = `${new URL(url).host} did not answer within ${PROBE_TIMEOUT_MS / 1000} s`;
    return new SourceError('Timeout', late, undefined, error);
  }
  const code = httpStatus === undefined ? 'Unreachable' : 'HttpStatus';
  return new SourceError(code, `${new URL(url).host}: ${message}`, httpStatus, error);
}

/** The refusal of an address comes as the cause of a connection that failed. */
function findSourceError(error: unknown): SourceError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof SourceError) return cause;
  }
  return undefined;
}

/** A URL with an address instead of a name is not looked up. */
function judgeLiteral(url: string, allowsPrivate: boolean): void {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0) judge(host, allowsPrivate);
}

/** Judges what is connected to, not what a name meant a moment earlier. */
function guardedLookup(allowsPrivate: boolean): LookupFunction {
  return (hostname, options, callback) => {
    dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, '', 4);
      try {
        for (const { address } of addresses) judge(address, allowsPrivate, hostname);
      } catch (refusal) {
        return callback(refusal as Error, '', 4);
      }
      if (options.all === true) return callback(null, addresses);
      const [first] = addresses;
      return callback(null, first?.address ?? '', first?.family ?? 4);
    });
  };
}

function judge(address: string, allowsPrivate: boolean, hostname = address): void {
  const verdict = judgeAddress(address);
  const shownHost = hostname === address ? address : `${hostname} (${address})`;
  if (verdict === 'forbidden') {
    const message = `spec.source.url: ${shownHost} is a loopback, link-local or metadata address, which Sluice never asks`;
    throw new SourceError('AddressForbidden', message);
  }
  if (verdict === 'private' && !allowsPrivate) {
    const message = `spec.source.url: ${shownHost} is a private address: create an Origin for this host with spec.allowPrivateAddresses: true`;
    throw new SourceError('AddressForbidden', message);
  }
}

/** Without the query: signed URLs carry credentials there. */
function shown(location: string): string {
  return location.split('?')[0]?.slice(0, 200) ?? '';
}
