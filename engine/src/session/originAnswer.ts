import { HttpSourceError, type ResponseHead } from '../ports/httpSource.ts';

/** What is known of a file at its origin. */
export interface OriginFile {
  readonly url: string;
  readonly sizeBytes: number;
  readonly validator: SourceValidator;
}

export interface SourceValidator {
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
}

export type PullErrorCode =
  /** Another validator or length than the epoch's. */
  | 'SourceChanged'
  | 'SourceNotFound'
  | 'SourceForbidden'
  /** 5xx, 408, 429, broken connections or short bodies, again and again. */
  | 'SourceUnavailable'
  | 'SourceRedirected'
  /** Longer than a transfer can be; said by probes alone. */
  | 'SourceTooLarge'
  /** Any other status, an encoding, or what is not HTTP: no answer to a GET of a range. */
  | 'SourceRefused'
  /** A whole file instead of a range. */
  | 'RangeIgnored'
  | 'BadContentRange'
  /** The bytes of a piece do not hash to what another puller read, more than once. */
  | 'SourceInconsistent'
  /** The piece store failed; its error is the cause. */
  | 'StoreFailed';

export class PullError extends Error {
  readonly code: PullErrorCode;
  readonly httpStatus: number | undefined;

  constructor(code: PullErrorCode, message: string, httpStatus?: number, cause?: unknown) {
    super(message, { cause });
    this.name = 'PullError';
    this.code = code;
    this.httpStatus = httpStatus;
  }
}

/**
 * What a message about one of the files begins with. Of a set it says which: without the query, which
 * may be signed.
 */
export function aboutFile(file: OriginFile, files: readonly OriginFile[]): string {
  return files.length === 1 ? '' : `${new URL(file.url).pathname}: `;
}

/** What asking again would not mend, as a message that begins with `about`; undefined: it may. */
export function refusalIn(error: unknown, about: string): PullError | undefined {
  const refused = error instanceof HttpSourceError ? refusalBehind(error) : error;
  if (!(refused instanceof PullError)) return undefined;
  const { code, message, httpStatus, cause } = refused;
  return new PullError(code, `${about}${message}`, httpStatus, cause);
}

function refusalBehind(error: HttpSourceError): unknown {
  if (error.cause instanceof PullError || error.code !== 'MalformedAnswer') return error.cause;
  return new PullError('SourceRefused', error.message, undefined, error);
}

export type AnswerVerdict =
  | { readonly kind: 'body' }
  | { readonly kind: 'retry'; readonly afterMs: number; readonly message: string }
  | { readonly kind: 'error'; readonly error: PullError };

/** The condition under which a request holds for this epoch only (RFC 9110, 13.1). */
export function conditionFor(validator: SourceValidator): Record<string, string> {
  const { etag, lastModified } = validator;
  if (etag !== undefined && isStrong(etag)) return { 'if-match': etag };
  return lastModified === undefined ? {} : { 'if-unmodified-since': lastModified };
}

/**
 * Judges the headers of an answer to a GET of [start, end), or of the whole file when no range was
 * asked for. A validator that the answer leaves out is not held against it: the condition was sent.
 */
export function judgeAnswer(
  head: ResponseHead,
  file: OriginFile,
  range?: { readonly start: number; readonly end: number },
): AnswerVerdict {
  const { status } = head;
  const error = (code: PullErrorCode, message: string): AnswerVerdict => ({
    kind: 'error',
    error: new PullError(code, message, status),
  });
  if (status === 412 || status === 416) {
    return error('SourceChanged', `the origin answers ${status}: the file is another one now`);
  }
  if (status === 404 || status === 410)
    return error('SourceNotFound', `the origin answers ${status}`);
  if (status === 401 || status === 403)
    return error('SourceForbidden', `the origin answers ${status}`);
  if (status === 408 || status === 429 || status >= 500) {
    const message = `the origin answers ${status}`;
    return { kind: 'retry', afterMs: retryAfterMs(head), message };
  }
  if (status >= 300 && status < 400) {
    return error(
      'SourceRedirected',
      `the origin answers ${status} to a request that it took before`,
    );
  }
  if (status !== 200 && status !== 206) return error('SourceRefused', refusedStatus(status));

  const encoding = head.headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() !== 'identity') {
    return error('SourceRefused', refusedEncoding(encoding));
  }
  const changed = differenceOf(head, file.validator);
  if (changed !== undefined) return error('SourceChanged', changed);
  const length = head.headers['content-length'];
  if (range === undefined) {
    if (status === 206) return error('BadContentRange', 'the origin sends a part of a whole file');
    if (length !== undefined && Number(length) !== file.sizeBytes) {
      return error('SourceChanged', `the file has ${length} bytes now, not ${file.sizeBytes}`);
    }
    return { kind: 'body' };
  }
  if (status === 200) return error('RangeIgnored', 'the origin sends the whole file for a range');
  const said = contentRangeOf(head);
  if (said?.totalBytes !== undefined && said.totalBytes !== file.sizeBytes) {
    return error(
      'SourceChanged',
      `the file has ${said.totalBytes} bytes now, not ${file.sizeBytes}`,
    );
  }
  if (/^multipart\//i.test(head.headers['content-type'] ?? '')) {
    return error('BadContentRange', 'the origin sends several parts for one range');
  }
  if (said?.start !== range.start || said.end !== range.end) {
    return error(
      'BadContentRange',
      `asked for bytes ${range.start}-${range.end - 1}, the origin says "${head.headers['content-range'] ?? ''}"`,
    );
  }
  if (length !== undefined && Number(length) !== range.end - range.start) {
    return error(
      'BadContentRange',
      `asked for ${range.end - range.start} bytes, the origin sends ${length}`,
    );
  }
  return { kind: 'body' };
}

/** What a user reads of an answer with which no file can be had: what it is, then what to do. */
export function refusedStatus(status: number): string {
  return `the origin answers ${status}; give a URL that answers GET with 200 or 206`;
}

export function refusedEncoding(encoding: string): string {
  return `the origin sends the file encoded as ${encoding}; serve it without Content-Encoding`;
}

/** `bytes a-b/total` as [start, end); total is undefined for `*`. */
export function contentRangeOf(
  head: ResponseHead,
): { start: number; end: number; totalBytes: number | undefined } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(
    head.headers['content-range'] ?? '',
  );
  if (match === null) return undefined;
  const [, first, last, total] = match;
  return {
    start: Number(first),
    end: Number(last) + 1,
    totalBytes: total === '*' ? undefined : Number(total),
  };
}

export function isStrong(etag: string): boolean {
  return etag.startsWith('"');
}

function differenceOf(head: ResponseHead, validator: SourceValidator): string | undefined {
  const { etag, 'last-modified': lastModified } = head.headers;
  if (validator.etag !== undefined) {
    if (etag === undefined || etag === validator.etag) return undefined;
    return `the file's ETag is ${etag} now, not ${validator.etag}`;
  }
  if (validator.lastModified === undefined || lastModified === undefined) return undefined;
  if (lastModified === validator.lastModified) return undefined;
  return `the file was modified at ${lastModified}, not at ${validator.lastModified}`;
}

const LONGEST_RETRY_AFTER_MS = 10_000;

/** Retry-After in seconds or as a date by the origin's own clock, within reason. */
function retryAfterMs({ headers }: ResponseHead): number {
  const said = headers['retry-after'] ?? '';
  const fromDates = Date.parse(said) - Date.parse(headers.date ?? '');
  const waitMs = /^\d+$/.test(said) ? Number(said) * 1000 : fromDates;
  return Number.isFinite(waitMs) ? Math.min(Math.max(waitMs, 0), LONGEST_RETRY_AFTER_MS) : 0;
}
