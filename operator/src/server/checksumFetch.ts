/** Reads the list of checksums that names a set's files, bounded, under a lease of its own. */
import {
  type HttpSource,
  HttpSourceError,
  type ResponseHead,
} from '@sluice/engine/ports/httpSource.ts';
import { judgeAnswer } from '@sluice/engine/session/originAnswer.ts';
import { UNSEEN_BYTES, unseenOf } from '@sluice/engine/session/puller.ts';
import { fileUrlOf } from '@sluice/protocol/fileUrl.ts';
import type { NamedFile } from '../controllers/dataSide.ts';
import { parseChecksums } from '../policies/checksumList.ts';
import { type Asker, redirected, SourceError } from './sourceAsking.ts';

/** A thousand lines with paths of a KiB. */
const MAX_LIST_BYTES = 1024 * 1024;
/**
 * Headers, interim answers, what a read of 64 KiB brings more than it may, and another one that was
 * under way.
 */
const MORE_BYTES = 196_608;

/** `path` relative to the source's folder. Rejects with a SourceError, or when aborted. */
export async function fetchChecksums(
  asker: Asker,
  path: string,
  signal: AbortSignal,
): Promise<readonly NamedFile[]> {
  const maxBytes = MAX_LIST_BYTES + MORE_BYTES + UNSEEN_BYTES;
  const answer = await asker.charge(maxBytes, signal, async (lease, http) => {
    const result = await read(asker, http, path, AbortSignal.any([signal, lease]));
    return { result, usedBytes: result.usedBytes };
  });
  if (answer.error !== undefined) throw answer.error;
  const list = parseChecksums(decoded(answer.bytes, path), path);
  if (list.kind === 'problem') throw new SourceError('InvalidFiles', list.message);
  return list.files;
}

interface Answer {
  readonly bytes: Buffer;
  readonly usedBytes: number;
  readonly error?: SourceError;
}

/** What an answer that was cut off has cost is charged, too: so it is an answer and no throw. */
async function read(
  { url, headers }: Asker,
  http: HttpSource,
  path: string,
  signal: AbortSignal,
): Promise<Answer> {
  const connection = http.connection(new URL(url));
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  let seen: ResponseHead | undefined;
  try {
    const { wireBytes } = await connection.request(
      {
        url: new URL(fileUrlOf(url, path)),
        headers,
        onHead: (head) => {
          seen = head;
          judge(head, path);
          if (Number(head.headers['content-length'] ?? 0) > MAX_LIST_BYTES) throw tooLong(path);
        },
        onChunk: (chunk) => {
          sizeBytes += chunk.byteLength;
          if (sizeBytes > MAX_LIST_BYTES) throw tooLong(path);
          chunks.push(Buffer.from(chunk));
        },
      },
      signal,
    );
    return { bytes: Buffer.concat(chunks, sizeBytes), usedBytes: wireBytes };
  } catch (error) {
    if (signal.aborted || !(error instanceof HttpSourceError)) throw error;
    // Who was cut off before his answer could be read may have sent any.
    const unseen = seen === undefined ? UNSEEN_BYTES : unseenOf(seen);
    const usedBytes = error.wireBytes + (error.exact ? 0 : unseen);
    const refused = error.cause instanceof SourceError ? error.cause : undefined;
    return { bytes: Buffer.alloc(0), usedBytes, error: refused ?? unreachable(url, path, error) };
  } finally {
    await connection.close();
  }
}

function judge(head: ResponseHead, path: string): void {
  const { status } = head;
  const { location } = head.headers;
  if (status >= 300 && status < 400 && location !== undefined) {
    throw redirected(status, location, path);
  }
  const encoding = head.headers['content-encoding'] ?? 'identity';
  if (status === 200 && encoding.toLowerCase() === 'identity') return;
  const verdict = judgeAnswer(head, { url: '', sizeBytes: 0, validator: {} });
  const message =
    verdict.kind === 'body'
      ? `the origin answers ${status}; answer 200 with the whole list`
      : verdict.kind === 'retry'
        ? verdict.message
        : verdict.error.message;
  throw new SourceError('HttpStatus', `'${path}': ${message}`, status);
}

function tooLong(path: string): SourceError {
  const message = `spec.source.filesFrom.path: '${path}' is longer than ${MAX_LIST_BYTES} bytes; name a list of at most 1000 files`;
  return new SourceError('InvalidFiles', message);
}

function unreachable(url: string, path: string, error: HttpSourceError): SourceError {
  const message = `${new URL(url).host}, '${path}': ${error.message}`;
  return new SourceError('Unreachable', message, undefined, error);
}

function decoded(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    const message = `spec.source.filesFrom.path: '${path}' is not text in UTF-8; write the list with sha256sum`;
    throw new SourceError('InvalidFiles', message, undefined, cause);
  }
}
