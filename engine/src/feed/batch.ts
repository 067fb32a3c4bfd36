import {
  type DecodedCertificate,
  decodeCertificate,
  encodeCertificate,
  type PullerCertificate,
  SWARM_ID_BYTES,
} from './certificate.ts';
import { SIGNATURE_BYTES } from './keys.ts';
import { HASH_BYTES } from './pieceHash.ts';

/*
 * A batch on the wire, all numbers big-endian:
 *   version u8 | certificate | swarm id 20 | count u16 | count x (piece u32 | hash 32) | signature 64
 * Pieces ascend. The puller's signature is over a context, the swarm id, the count and what follows.
 */

const BATCH_VERSION = 2;

/** 36 KiB of hashes: with all around them under what a message may have (wire/codec.ts). */
export const MAX_HASHES_PER_BATCH = 1024;
/** Nothing longer can be a batch: 256 extents and 1,024 hashes with everything around them. */
export const MAX_BATCH_BYTES = 39_936;

const BATCH_CONTEXT = Buffer.from('sluice feed batch v2\0');
const ENTRY_BYTES = 4 + HASH_BYTES;

/** What a batch says of one piece. */
export interface PieceHash {
  readonly piece: number;
  readonly hash: Uint8Array;
}

export interface DecodedBatch {
  readonly certificate: DecodedCertificate;
  readonly swarmId: Buffer;
  /** In order of pieces, each once; at least one. */
  readonly hashes: readonly (PieceHash & { readonly hash: Buffer })[];
  readonly signature: Buffer;
  /** What the signature is over. */
  readonly message: Buffer;
  /** All of it. */
  readonly bytes: Buffer;
}

/** The part that a puller signs, of pieces in their order. */
export function batchMessage(swarmId: Uint8Array, hashes: readonly PieceHash[]): Buffer {
  if (hashes.length === 0 || hashes.length > MAX_HASHES_PER_BATCH) {
    throw new RangeError(`a batch has 1 to ${MAX_HASHES_PER_BATCH} hashes, not ${hashes.length}`);
  }
  const body = Buffer.alloc(2 + hashes.length * ENTRY_BYTES);
  body.writeUInt16BE(hashes.length, 0);
  hashes.forEach(({ piece, hash }, index) => {
    const at = 2 + index * ENTRY_BYTES;
    body.writeUInt32BE(piece, at);
    body.set(hash, at + 4);
  });
  return Buffer.concat([BATCH_CONTEXT, swarmId, body]);
}

export function encodeBatch(
  certificate: PullerCertificate,
  message: Uint8Array,
  signature: Uint8Array,
): Buffer {
  return Buffer.concat([
    Buffer.of(BATCH_VERSION),
    encodeCertificate(certificate),
    message.subarray(BATCH_CONTEXT.length),
    signature,
  ]);
}

/** Of a release to come, which passes on what this one cannot read. */
export function isNewerBatch(bytes: Uint8Array): boolean {
  return (bytes[0] ?? 0) > BATCH_VERSION;
}

/** Undefined for anything but exactly one batch within its bounds. */
export function decodeBatch(bytes: Uint8Array): DecodedBatch | undefined {
  if (bytes.byteLength > MAX_BATCH_BYTES || bytes[0] !== BATCH_VERSION) return undefined;
  // A copy: the batch outlives the read buffer that it came in.
  const own = Buffer.from(bytes);
  const certificate = decodeCertificate(own.subarray(1));
  if (certificate === undefined) return undefined;
  const signed = own.subarray(1 + certificate.byteLength);
  const headBytes = SWARM_ID_BYTES + 2;
  if (signed.length < headBytes) return undefined;
  const count = signed.readUInt16BE(SWARM_ID_BYTES);
  const messageBytes = headBytes + count * ENTRY_BYTES;
  if (count === 0 || count > MAX_HASHES_PER_BATCH) return undefined;
  if (signed.length !== messageBytes + SIGNATURE_BYTES) return undefined;
  const hashes: { piece: number; hash: Buffer }[] = [];
  let before = -1;
  for (let at = headBytes; at < messageBytes; at += ENTRY_BYTES) {
    const piece = signed.readUInt32BE(at);
    if (piece <= before) return undefined;
    before = piece;
    hashes.push({ piece, hash: signed.subarray(at + 4, at + ENTRY_BYTES) });
  }
  return {
    certificate,
    swarmId: signed.subarray(0, SWARM_ID_BYTES),
    hashes,
    signature: signed.subarray(messageBytes),
    message: Buffer.concat([BATCH_CONTEXT, signed.subarray(0, messageBytes)]),
    bytes: own,
  };
}
