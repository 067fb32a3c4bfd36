import { MAX_BATCH_BYTES } from './batch.ts';

/** The relay sends at most this much at once; the rest comes with the next poll. */
export const MAX_FEED_ANSWER_BYTES = 1024 * 1024;
/** Names one run of a relay's log: positions in it mean nothing after a restart. */
export const FEED_LOG_HEADER = 'sluice-feed-log';
export const FEED_NEXT_HEADER = 'sluice-feed-next';

/** Batches one after the other, each behind its length (u32, big-endian): the body of GET feed. */
export function encodeBatchList(batches: readonly Uint8Array[]): Buffer {
  const parts = batches.flatMap((batch) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(batch.byteLength);
    return [length, batch];
  });
  return Buffer.concat(parts);
}

/** Undefined when it is not a list of batches within their bounds. */
export function decodeBatchList(bytes: Buffer): Buffer[] | undefined {
  const batches: Buffer[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < 4) return undefined;
    const length = bytes.readUInt32BE(at);
    if (length > MAX_BATCH_BYTES || bytes.length - at - 4 < length) return undefined;
    batches.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return batches;
}
