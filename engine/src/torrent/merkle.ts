import { hash } from 'node:crypto';
import { HASH_BYTES, LEAF_BYTES } from '../feed/pieceHash.ts';

/** The piece layer of a file stands so many levels above its 16 KiB leaves (BEP 52). */
export function pieceLayerLevel(pieceLengthBytes: number): number {
  return Math.log2(pieceLengthBytes / LEAF_BYTES);
}

/** Of a tree that has no leaf under it, so many levels above the leaves. */
export function emptyHash(level: number): Buffer {
  let empty: Buffer = Buffer.alloc(HASH_BYTES);
  for (let at = 0; at < level; at += 1) empty = parentOf(empty, empty);
  return empty;
}

/**
 * From the piece layer to the root, a buffer of hashes for each level. The first has as many as
 * there are pieces; what a level lacks to a power of two is an empty tree.
 */
export function levelsAbove(layer: Buffer, pieceLengthBytes: number): Buffer[] {
  const levels = [layer];
  let empty = emptyHash(pieceLayerLevel(pieceLengthBytes));
  for (let level = layer; level.length > HASH_BYTES; ) {
    const parents = Math.ceil(level.length / HASH_BYTES / 2);
    const above = Buffer.alloc(parents * HASH_BYTES);
    for (let parent = 0; parent < parents; parent += 1) {
      const left = hashAt(level, parent * 2) as Buffer;
      above.set(parentOf(left, hashAt(level, parent * 2 + 1) ?? empty), parent * HASH_BYTES);
    }
    levels.push(above);
    empty = parentOf(empty, empty);
    level = above;
  }
  return levels;
}

export function hashAt(level: Buffer, index: number): Buffer | undefined {
  const at = index * HASH_BYTES;
  return at < level.length ? level.subarray(at, at + HASH_BYTES) : undefined;
}

function parentOf(left: Uint8Array, right: Uint8Array): Buffer {
  return hash('sha256', Buffer.concat([left, right]), 'buffer');
}
