import { MAX_TRANSFER_BYTES } from '../pieces/layout.ts';
import {
  type HttpConnection,
  type HttpSource,
  HttpSourceError,
  type ResponseHead,
} from '../ports/httpSource.ts';
import {
  contentRangeOf,
  judgeAnswer,
  PullError,
  refusedEncoding,
  refusedStatus,
  type SourceValidator,
} from './originAnswer.ts';
import { UNSEEN_BYTES, unseenOf } from './puller.ts';

export type ProbeOutcome =
  | {
      readonly kind: 'file';
      readonly sizeBytes: number;
      readonly validator: SourceValidator;
      /** Proven by a 206 to a range. */
      readonly ranges: boolean;
    }
  /** For the caller to judge: another host is under other limits. */
  | { readonly kind: 'redirect'; readonly status: number; readonly location: string }
  | { readonly kind: 'failed'; readonly error: PullError };

/** With what the origin may have written for it, charged high. */
export type ProbeResult = ProbeOutcome & { readonly usedBytes: number };

/**
 * The most that one probe can be charged: what may be in the kernels' buffers, headers and interim
 * answers of 16 KiB each, and a body of as much that is cut off by a read of 64 KiB, while another
 * one is under way.
 */
export const MAX_PROBE_BYTES = UNSEEN_BYTES + 196_608;
/** Bodies up to this size are read to their end; longer ones are cut off. */
const MAX_READ_BODY_BYTES = 16_384;

/**
 * Asks for the first byte of a file, over one connection that is closed when this resolves: its
 * length, its validator, and whether ranges work. A GET, because origins that sign URLs or refuse
 * HEAD answer it as they will answer the pull. Rejects only when aborted.
 */
export async function probeOrigin(
  url: string,
  headers: Readonly<Record<string, string>>,
  http: HttpSource,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const connection = http.connection(new URL(url));
  try {
    return await probeOver(connection, url, headers, signal);
  } finally {
    await connection.close();
  }
}

/** The same over a connection to the URL's server, which stays usable for the next. */
export async function probeOver(
  connection: HttpConnection,
  url: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<ProbeResult> {
  let seen: ResponseHead | undefined;
  let bodyBytes = 0;
  try {
    const { head, wireBytes } = await connection.request(
      {
        url: new URL(url),
        headers,
        range: { start: 0, end: 1 },
        onHead: (head) => {
          seen = head;
          if (bodyLengthOf(head) > MAX_READ_BODY_BYTES) throw new EnoughSeen();
        },
        onChunk: (chunk) => {
          bodyBytes += chunk.byteLength;
          if (bodyBytes > MAX_READ_BODY_BYTES) throw new EnoughSeen();
        },
      },
      signal,
    );
    return { ...judgeProbe(head, bodyBytes), usedBytes: wireBytes };
  } catch (error) {
    if (signal.aborted) throw error;
    if (!(error instanceof HttpSourceError)) throw error;
    // Who was cut off before his answer could be read may have sent any.
    const unseen = seen === undefined ? UNSEEN_BYTES : unseenOf(seen);
    const usedBytes = error.wireBytes + (error.exact ? 0 : unseen);
    if (error.cause instanceof EnoughSeen && seen !== undefined) {
      return { ...judgeProbe(seen, undefined), usedBytes };
    }
    const failed = new PullError('SourceUnavailable', error.message, undefined, error);
    return { kind: 'failed', error: failed, usedBytes };
  }
}

class EnoughSeen extends Error {}

const UNKNOWN_LENGTH =
  'the origin does not tell the length of the file; send Content-Length or honour ranges';

/** `bodyBytes`: of a body that was read to its end. */
function judgeProbe(head: ResponseHead, bodyBytes: number | undefined): ProbeOutcome {
  const { status } = head;
  const validator = validatorOf(head);
  const encoding = head.headers['content-encoding'] ?? 'identity';
  if (status < 300 && encoding.toLowerCase() !== 'identity') {
    return failed('SourceRefused', refusedEncoding(encoding), status);
  }
  if (status === 206) {
    const range = contentRangeOf(head);
    if (range?.start === 0 && range.end === 1 && range.totalBytes !== undefined) {
      return fileOf(range.totalBytes, validator, true);
    }
    const said = head.headers['content-range'] ?? '';
    return badRange(`asked for byte 0, the origin says "${said}"`, status);
  }
  if (status === 200) {
    const length = head.headers['content-length'];
    const sizeBytes = length === undefined ? bodyBytes : Number(length);
    if (sizeBytes !== undefined && Number.isSafeInteger(sizeBytes) && sizeBytes >= 0) {
      return fileOf(sizeBytes, validator, false);
    }
    return failed('SourceRefused', UNKNOWN_LENGTH, status);
  }
  if (status === 416) {
    // Byte 0 cannot be had: an empty file. It says so as "bytes */0", or says nothing.
    const said = head.headers['content-range'];
    if (said === undefined || said === 'bytes */0') {
      return { kind: 'file', sizeBytes: 0, validator, ranges: true };
    }
    return badRange(`the origin refuses byte 0 of "${said}"`, status);
  }
  const { location } = head.headers;
  if (status >= 300 && status < 400 && location !== undefined && location.length <= 8192) {
    return { kind: 'redirect', status, location };
  }
  const verdict = judgeAnswer(head, { url: '', sizeBytes: 0, validator: {} });
  if (verdict.kind === 'error') {
    // Nothing was known of the file that could have changed, nor was it ever taken.
    const { code } = verdict.error;
    return code === 'SourceChanged' || code === 'SourceRedirected'
      ? failed('SourceRefused', refusedStatus(status), status)
      : { kind: 'failed', error: verdict.error };
  }
  return failed('SourceUnavailable', `the origin answers ${status}`, status);
}

/** What only claims to be a file of such a length is refused before anybody makes room for it. */
function fileOf(sizeBytes: number, validator: SourceValidator, ranges: boolean): ProbeOutcome {
  if (sizeBytes <= MAX_TRANSFER_BYTES) return { kind: 'file', sizeBytes, validator, ranges };
  const message = `the file has ${sizeBytes} bytes, and at most ${MAX_TRANSFER_BYTES} (1 TiB) can be delivered`;
  return { kind: 'failed', error: new PullError('SourceTooLarge', message) };
}

function failed(code: PullError['code'], message: string, status: number): ProbeOutcome {
  return { kind: 'failed', error: new PullError(code, message, status) };
}

function badRange(message: string, status: number): ProbeOutcome {
  const remedy = 'answer 206 with the range that was asked for, or 200 with the whole file';
  return failed('BadContentRange', `${message}; ${remedy}`, status);
}

/** A validator that is too long to be kept is none. */
function validatorOf(head: ResponseHead): SourceValidator {
  const { etag, 'last-modified': lastModified } = head.headers;
  return {
    ...(etag !== undefined && etag.length <= 1024 ? { etag } : {}),
    ...(lastModified !== undefined && lastModified.length <= 64 ? { lastModified } : {}),
  };
}

function bodyLengthOf(head: ResponseHead): number {
  const length = Number(head.headers['content-length'] ?? 'unknown');
  // Without a length it may be anything; it is read until it is too much.
  return Number.isFinite(length) ? length : 0;
}
