/**
 * What a failure to resolve the source means: what the user reads, and when to try again.
 */
import type { DistributionReason } from '../api/v1alpha1/conditions.ts';

export interface SourceFailure {
  readonly reason: DistributionReason;
  readonly message: string;
  /**
   * stall: a person has to act; it is tried again all the same, slowly, and a success recovers.
   * retry: it may pass by itself. wait: the limits leave no room now.
   */
  readonly kind: 'stall' | 'retry' | 'wait';
}

/** Codes of errors of resolveSource, and of reading the Secret. */
export type SourceErrorCode =
  | 'HttpStatus'
  | 'Unreachable'
  | 'Timeout'
  | 'BadAnswer'
  | 'Redirect'
  | 'AddressForbidden'
  | 'OriginRequired'
  | 'QuotaExhausted'
  | 'SecretNotFound'
  | 'SecretInvalid';

export interface SourceErrorLike {
  readonly code?: unknown;
  readonly message: string;
  readonly httpStatus?: unknown;
}

const RULES: Readonly<Record<SourceErrorCode, Pick<SourceFailure, 'reason' | 'kind'>>> = {
  HttpStatus: { reason: 'SourceRefused', kind: 'stall' },
  Unreachable: { reason: 'SourceUnavailable', kind: 'retry' },
  Timeout: { reason: 'SourceUnavailable', kind: 'retry' },
  BadAnswer: { reason: 'SourceRefused', kind: 'stall' },
  Redirect: { reason: 'SourceRefused', kind: 'stall' },
  AddressForbidden: { reason: 'SourceAddressForbidden', kind: 'stall' },
  OriginRequired: { reason: 'OriginRequired', kind: 'stall' },
  QuotaExhausted: { reason: 'OriginBusy', kind: 'wait' },
  SecretNotFound: { reason: 'SecretNotFound', kind: 'stall' },
  SecretInvalid: { reason: 'SecretInvalid', kind: 'stall' },
};

export function classifySourceError(error: SourceErrorLike): SourceFailure {
  const message = error.message;
  if (typeof error.httpStatus === 'number') return { ...classifyStatus(error.httpStatus), message };
  const rule = RULES[error.code as SourceErrorCode];
  return rule === undefined
    ? { reason: 'SourceUnavailable', kind: 'retry', message }
    : { ...rule, message };
}

function classifyStatus(status: number): Pick<SourceFailure, 'reason' | 'kind'> {
  if (status === 404 || status === 410) return { reason: 'SourceNotFound', kind: 'stall' };
  if (status === 401 || status === 403) return { reason: 'SourceForbidden', kind: 'stall' };
  if (status >= 500 || status === 408 || status === 429) {
    return { reason: 'SourceUnavailable', kind: 'retry' };
  }
  return { reason: 'SourceRefused', kind: 'stall' };
}

const BACKOFF: Readonly<Record<SourceFailure['kind'], { minMs: number; maxMs: number }>> = {
  stall: { minMs: 2_000, maxMs: 60_000 },
  retry: { minMs: 1_000, maxMs: 30_000 },
  wait: { minMs: 1_000, maxMs: 5_000 },
};

/** `failures` counts from 1; `random` in [0, 1) spreads what failed together. */
export function resolveBackoffMs(
  kind: SourceFailure['kind'],
  failures: number,
  random: number,
): number {
  const { minMs, maxMs } = BACKOFF[kind];
  const full = Math.min(maxMs, minMs * 2 ** Math.min(failures - 1, 20));
  return full * (0.75 + random / 4);
}

/**
 * The name that the file gets on the nodes: the last segment of the URL, decoded unless that would
 * make it unsafe. Undefined when the URL names no file.
 */
export function fileNameOf(url: string): string | undefined {
  const parsed = URL.parse(url);
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return undefined;
  const raw = parsed.pathname.slice(parsed.pathname.lastIndexOf('/') + 1);
  if (raw === '') return undefined;
  const decoded = decode(raw);
  const name = decoded !== undefined && isSafeName(decoded) ? decoded : raw;
  return isSafeName(name) && new TextEncoder().encode(name).length <= 255 ? name : undefined;
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

function isSafeName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be in a name
  return name !== '' && name !== '.' && name !== '..' && !/[/\\\u0000-\u001f\u007f]/.test(name);
}
