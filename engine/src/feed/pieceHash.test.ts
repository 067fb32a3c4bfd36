import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { LEAF_BYTES, leafCountOf, pieceHash } from './pieceHash.ts';
import { swarmIdOf } from './swarmId.ts';

const sha = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();

/** BEP 52 as it is written, one recursion. */
function merkleRoot(leaves: Buffer[]): Buffer {
  if (leaves.length === 1) return leaves[0] as Buffer;
  const half = leaves.length / 2;
  return sha(merkleRoot(leaves.slice(0, half)), merkleRoot(leaves.slice(half)));
}

function naiveHash(bytes: Buffer, leafCount: number): Buffer {
  const leaves = Array.from({ length: leafCount }, (_, leaf) => {
    const block = bytes.subarray(leaf * LEAF_BYTES, (leaf + 1) * LEAF_BYTES);
    return block.length > 0 ? sha(block) : Buffer.alloc(32);
  });
  return merkleRoot(leaves);
}

describe('the hash of a piece', () => {
  it.each([
    [1, 1],
    [LEAF_BYTES, 1],
    [LEAF_BYTES + 1, 2],
    [1, 16],
    [3 * LEAF_BYTES, 4],
    [5 * LEAF_BYTES + 7, 16],
    [9 * LEAF_BYTES, 16],
    [16 * LEAF_BYTES, 16],
    [1_000_000, 64],
  ])('of %d bytes in a tree of %d leaves is its Merkle root', (size, leafCount) => {
    const bytes = randomBytes(size);
    expect(pieceHash(bytes, leafCount)).toEqual(naiveHash(bytes, leafCount));
  });

  it('refuses a tree that does not fit', () => {
    expect(() => pieceHash(Buffer.alloc(0), 1)).toThrow(/0 bytes/);
    expect(() => pieceHash(Buffer.alloc(2 * LEAF_BYTES), 1)).toThrow(/tree of 1/);
    expect(() => pieceHash(Buffer.alloc(LEAF_BYTES), 3)).toThrow(/tree of 3/);
  });

  it.each([
    ['the only piece of a small file', { sizeBytes: 1, fileSizeBytes: 1 }, 1],
    ['the only piece of a file of 40 KiB', { sizeBytes: 40960, fileSizeBytes: 40960 }, 4],
    ['a file of exactly one piece', { sizeBytes: 262144, fileSizeBytes: 262144 }, 16],
    ['the short last piece of a longer file', { sizeBytes: 1, fileSizeBytes: 262145 }, 16],
  ])('has the leaves that BEP 52 gives to %s', (_, sizes, leaves) => {
    expect(leafCountOf({ ...sizes, pieceLengthBytes: 262144 })).toBe(leaves);
  });
});

describe('the swarm id', () => {
  const layout = { files: [{ path: 'a/b.bin', sizeBytes: 5 }], pieceLengthBytes: 262144 };
  const owner = { uid: 'u', epoch: 1, feedKey: Buffer.alloc(32, 7) };

  it('is the truncated SHA-256 of the bencoded plan', () => {
    const key = Buffer.alloc(32, 7).toString('latin1');
    const text = `d5:filesll7:a/b.bini5eee12:piece lengthi262144e6:sluiced5:epochi1e3:key32:${key}3:uid1:uee`;
    expect(swarmIdOf(layout, owner)).toEqual(sha(Buffer.from(text, 'latin1')).subarray(0, 20));
  });

  it('differs for another owner, epoch, key, file or piece length', () => {
    const ids = [
      swarmIdOf(layout, owner),
      swarmIdOf(layout, { ...owner, uid: 'v' }),
      swarmIdOf(layout, { ...owner, epoch: 2 }),
      swarmIdOf(layout, { ...owner, feedKey: Buffer.alloc(32, 8) }),
      swarmIdOf({ ...layout, pieceLengthBytes: 524288 }, owner),
      swarmIdOf({ ...layout, files: [{ path: 'a/b.bin', sizeBytes: 6 }] }, owner),
    ];
    expect(new Set(ids.map((id) => id.toString('hex'))).size).toBe(ids.length);
  });
});
