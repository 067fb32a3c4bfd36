/** Asks the origin what a piece is: under leases, at the same addresses and for the same version. */
import { guardedLookup } from '@sluice/engine/adapters/http/guardedLookup.ts';
import {
  DEFAULT_HTTP_OPTIONS,
  NodeHttpSource,
} from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { leafCountOf, pieceHash } from '@sluice/engine/feed/pieceHash.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import { type HttpSource, HttpSourceError } from '@sluice/engine/ports/httpSource.ts';
import { conditionFor, judgeAnswer, type OriginFile } from '@sluice/engine/session/originAnswer.ts';
import { UNSEEN_BYTES, unseenOf } from '@sluice/engine/session/puller.ts';
import { sourceOf } from '@sluice/protocol/client/sourceOfTask.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import type { ProbeCharger } from './sourceAsking.ts';
import { WatchedHttp } from './watchedHttp.ts';

/** Each part is slack of its lease, whole: small enough to find room beside pulls. */
const PART_BYTES = 131_072;
/** Of one answer, charged high. */
const HEADER_BYTES = 16_384;

/** The BEP 52 hash of the piece in hex, `task` being a relay's. Rejects with a coded error. */
export async function pieceAtOrigin(
  task: Task,
  piece: number,
  charger: ProbeCharger,
  signal: AbortSignal,
): Promise<string> {
  const layout = layoutOf(task.files, task.pieceLengthBytes);
  const { fileIndex, offset } = layout.locate(piece);
  const source = sourceOf(task, layout.files);
  const file = source?.options.files[fileIndex];
  if (source === undefined || file === undefined) throw new Error('the task names no source');
  const lookup = guardedLookup(source.allowsPrivateAddresses);
  const http = new NodeHttpSource({ ...DEFAULT_HTTP_OPTIONS, lookup });
  const bytes = Buffer.alloc(layout.pieceSizeBytes(piece));
  for (let at = 0; at < bytes.length; at += PART_BYTES) {
    const part = bytes.subarray(at, at + PART_BYTES);
    const charge = { url: file.url, uid: task.uid, maxBytes: part.length + HEADER_BYTES };
    const { headers } = source.options;
    const failure = await charger.charge(charge, signal, async (lease, unproven) => {
      const watched = new WatchedHttp(http);
      const reading = { http: watched, headers, signal: AbortSignal.any([signal, lease]) };
      try {
        return await readInto(part, offset + at, file, reading);
      } finally {
        unproven(watched.unprovenEnds);
      }
    });
    if (failure !== undefined) throw failure;
  }
  const { pieceLengthBytes } = layout;
  const sizes = { sizeBytes: bytes.length, pieceLengthBytes, fileSizeBytes: file.sizeBytes };
  return pieceHash(bytes, leafCountOf(sizes)).toString('hex');
}

interface Reading {
  readonly http: HttpSource;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Its failure is a result: what the origin wrote for it is known, and charged. */
async function readInto(
  part: Buffer,
  start: number,
  file: OriginFile,
  { http, headers, signal }: Reading,
): Promise<{ result: Error | undefined; usedBytes: number }> {
  const range = { start, end: start + part.length };
  const connection = http.connection(new URL(file.url));
  let received = 0;
  // Of a range that is honoured no more than was asked for comes.
  let unseenBytes = part.length + HEADER_BYTES;
  try {
    const { wireBytes } = await connection.request(
      {
        headers: { ...headers, ...conditionFor(file.validator) },
        range,
        onHead: (head) => {
          const verdict = judgeAnswer(head, file, range);
          if (verdict.kind === 'body') return;
          unseenBytes = unseenOf(head);
          throw verdict.kind === 'error' ? verdict.error : new Error(verdict.message);
        },
        onChunk: (chunk) => {
          if (received + chunk.byteLength > part.length) {
            unseenBytes = UNSEEN_BYTES;
            throw new Error('more came than asked');
          }
          part.set(chunk, received);
          received += chunk.byteLength;
        },
      },
      signal,
    );
    const result = received < part.length ? new Error('the answer was too short') : undefined;
    return { result, usedBytes: wireBytes };
  } catch (error) {
    // Who does not know what came charges the lease whole.
    if (signal.aborted || !(error instanceof HttpSourceError)) throw error;
    if (error.code === 'MalformedAnswer') unseenBytes = UNSEEN_BYTES;
    return { result: error, usedBytes: error.wireBytes + (error.exact ? 0 : unseenBytes) };
  } finally {
    await connection.close();
  }
}
