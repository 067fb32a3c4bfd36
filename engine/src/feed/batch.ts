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
 *   version u8 | certificate | swarm id 20 | first piece u32 | count u16 | hashes 32 x count | signature 64
 * The puller's signature is over a context, the swarm id, first, count and hashes.
 */

const BATCH_VERSION = 1;

/** 32 KiB of hashes: under the 64 KiB that a feed message may have, certificate included. */
export const MAX_HASHES_PER_BATCH = 1024;
/** Nothing longer can be a batch: 256 extents and 1,024 hashes with everything around them. */
export const MAX_BATCH_BYTES = 36_864;

const BATCH_CONTEXT = Buffer.from('sluice feed batch v1\0');

export interface DecodedBatch {
  readonly certificate: DecodedCertificate;
  readonly swarmId: Buffer;
  readonly first: number;
  /** In order of pieces, from `first` on; at least one. */
  readonly hashes: readonly Buffer[];
  readonly signature: Buffer;
  /** What the signature is over. */
  readonly message: Buffer;
  /** All of it. */
  readonly bytes: Buffer;
}

/** The part that a puller signs. */
export function batchMessage(
  swarmId: Uint8Array,
  first: number,
  hashes: readonly Uint8Array[],
): Buffer {
  if (hashes.length === 0 || hashes.length > MAX_HASHES_PER_BATCH) {
    throw new RangeError(`a batch has 1 to ${MAX_HASHES_PER_BATCH} hashes, not ${hashes.length}`);
  }
  const head = Buffer.alloc(6);
  head.writeUInt32BE(first, 0);
  head.writeUInt16BE(hashes.length, 4);
  return Buffer.concat([BATCH_CONTEXT, swarmId, head, ...hashes]);
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

/** Undefined for anything but exactly one batch within its bounds. */
export function decodeBatch(bytes: Uint8Array): DecodedBatch | undefined {
  if (bytes.byteLength > MAX_BATCH_BYTES || bytes[0] !== BATCH_VERSION) return undefined;
  // A copy: the batch outlives the read buffer that it came in.
  const own = Buffer.from(bytes);
  const certificate = decodeCertificate(own.subarray(1));
  if (certificate === undefined) return undefined;
  const signed = own.subarray(1 + certificate.byteLength);
  const headBytes = SWARM_ID_BYTES + 6;
  if (signed.length < headBytes) return undefined;
  const count = signed.readUInt16BE(SWARM_ID_BYTES + 4);
  const messageBytes = headBytes + count * HASH_BYTES;
  if (count === 0 || count > MAX_HASHES_PER_BATCH) return undefined;
  if (signed.length !== messageBytes + SIGNATURE_BYTES) return undefined;
  const hashes: Buffer[] = [];
  for (let at = headBytes; at < messageBytes; at += HASH_BYTES) {
    hashes.push(signed.subarray(at, at + HASH_BYTES));
  }
  return {
    certificate,
    swarmId: signed.subarray(0, SWARM_ID_BYTES),
    first: signed.readUInt32BE(SWARM_ID_BYTES),
    hashes,
    signature: signed.subarray(messageBytes),
    message: Buffer.concat([BATCH_CONTEXT, signed.subarray(0, messageBytes)]),
    bytes: own,
  };
}
