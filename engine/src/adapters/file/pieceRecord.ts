import { crc32 } from 'node:zlib';

/*
 * What a state file notes of one piece:
 *   mark 1: absent, written, synced | hash 32 | CRC-32 4, of the piece's number and the hash
 * The checksum tells a record that a power loss cut in two. What is absent is zeros altogether.
 */
export const ABSENT = 0;
export const WRITTEN = 1;
export const SYNCED = 2;

export const RECORD_BYTES = 37;
const HASH_AT = 1;
const SUM_AT = 33;

export function recordOf(mark: number, piece: number, hash: Uint8Array): Buffer {
  const record = Buffer.alloc(RECORD_BYTES);
  record[0] = mark;
  record.set(hash, HASH_AT);
  record.writeUInt32BE(sumOf(piece, hash), SUM_AT);
  return record;
}

/** Undefined: the piece is absent, or what is noted of it is not whole. */
export function readRecord(
  bytes: Buffer,
  piece: number,
): { readonly mark: number; readonly hash: Buffer } | undefined {
  const mark = bytes[0];
  if (mark !== WRITTEN && mark !== SYNCED) return undefined;
  const hash = bytes.subarray(HASH_AT, SUM_AT);
  return bytes.readUInt32BE(SUM_AT) === sumOf(piece, hash) ? { mark, hash } : undefined;
}

function sumOf(piece: number, hash: Uint8Array): number {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(piece);
  return crc32(hash, crc32(number));
}
