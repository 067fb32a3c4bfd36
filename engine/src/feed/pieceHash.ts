import { hash } from 'node:crypto';

/*
 * feed/ knows how a distribution's piece hashes are made, signed, certified, checked and merged.
 * Cryptography lives here; when to send a batch and to whom is the session's and the swarm's.
 */

/** Leaf of the BEP 52 Merkle tree. */
export const LEAF_BYTES = 16_384;
/** SHA-256. */
export const HASH_BYTES = 32;

/** What stands in for leaves behind the end of a file (BEP 52): 32 zero bytes, not their hash. */
const ZERO_HASH = Buffer.alloc(HASH_BYTES);

/**
 * How many leaves the tree of one piece has, padding included. A piece of a file of several pieces
 * has always as many as a whole piece; a file of one piece has the next power of two of its own.
 */
export function leafCountOf(piece: {
  readonly sizeBytes: number;
  readonly pieceLengthBytes: number;
  readonly fileSizeBytes: number;
}): number {
  if (piece.fileSizeBytes > piece.pieceLengthBytes) return piece.pieceLengthBytes / LEAF_BYTES;
  return nextPowerOfTwo(Math.ceil(piece.sizeBytes / LEAF_BYTES));
}

/**
 * SHA-256 Merkle root of a piece's 16 KiB leaves: its entry in the BEP 52 piece layer, or the
 * pieces root of a file of one piece. The last leaf is hashed at its real length.
 */
export function pieceHash(bytes: Uint8Array, leafCount: number): Buffer {
  const leaves = Math.ceil(bytes.byteLength / LEAF_BYTES);
  if (leaves === 0 || leaves > leafCount || nextPowerOfTwo(leafCount) !== leafCount) {
    throw new RangeError(`a piece of ${bytes.byteLength} bytes has no tree of ${leafCount} leaves`);
  }
  const level = Buffer.alloc(leafCount * HASH_BYTES);
  for (let leaf = 0; leaf < leaves; leaf += 1) {
    const block = bytes.subarray(leaf * LEAF_BYTES, (leaf + 1) * LEAF_BYTES);
    digestInto(level, leaf * HASH_BYTES, block);
  }
  // Reduced in place: the parent of pair n is written where child n of the level was read before.
  let zero = ZERO_HASH;
  let used = leaves;
  for (let width = leafCount; width > 1; width /= 2) {
    if (used % 2 === 1 && used < width) level.set(zero, used * HASH_BYTES);
    used = Math.ceil(used / 2);
    for (let node = 0; node < used; node += 1) {
      const pair = level.subarray(node * 2 * HASH_BYTES, (node * 2 + 2) * HASH_BYTES);
      digestInto(level, node * HASH_BYTES, pair);
    }
    zero = hash('sha256', Buffer.concat([zero, zero]), 'buffer');
  }
  // Memory of its own: as a part of Node's pool it would take all of that along to another thread.
  const root = Buffer.allocUnsafeSlow(HASH_BYTES);
  level.copy(root, 0, 0, HASH_BYTES);
  return root;
}

/** By way of a string: to make a buffer of each digest takes longer than to hash a pair. */
function digestInto(level: Buffer, at: number, bytes: Uint8Array): void {
  level.write(hash('sha256', bytes, 'binary'), at, 'latin1');
}

function nextPowerOfTwo(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, count)));
}
