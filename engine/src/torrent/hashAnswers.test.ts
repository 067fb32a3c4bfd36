import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { HASH_BYTES } from '../feed/pieceHash.ts';
import { type AskedHashes, HashAnswers } from './hashAnswers.ts';
import { emptyHash, levelsAbove } from './merkle.ts';

const PIECE = 65_536;
/** 64 KiB are four leaves. */
const PIECE_LEVEL = 2;

function layerOf(pieces: number) {
  const hashes = randomBytes(pieces * HASH_BYTES);
  const root = levelsAbove(hashes, PIECE).at(-1) as Buffer;
  return { hashes, root, answers: new HashAnswers([{ root, hashes }], PIECE) };
}

/** As a peer checks it: the row's root, then up with the hashes beside the way. */
function climb(answer: Buffer, { length, index }: AskedHashes): Buffer {
  const all = Array.from({ length: answer.length / HASH_BYTES }, (_, at) =>
    answer.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES),
  );
  let row = all.slice(0, length);
  while (row.length > 1) {
    row = row.flatMap((hash, at) => (at % 2 === 0 ? [parent(hash, row[at + 1] as Buffer)] : []));
  }
  let own = row[0] as Buffer;
  let at = index / length;
  for (const beside of all.slice(length)) {
    own = at % 2 === 0 ? parent(own, beside) : parent(beside, own);
    at = Math.floor(at / 2);
  }
  return own;
}

function parent(left: Buffer, right: Buffer): Buffer {
  return createHash('sha256').update(left).update(right).digest();
}

describe('an answer about hashes', () => {
  it.each([2, 3, 5, 8, 600, 1025])('proves each row of a file of %i pieces', (pieces) => {
    const { root, answers } = layerOf(pieces);
    const height = Math.ceil(Math.log2(pieces));
    for (const length of [2, 4, 512].filter((each) => each <= 2 ** height)) {
      for (let index = 0; index < pieces; index += length) {
        const asked = { root, baseLayer: PIECE_LEVEL, index, length, proofLayers: height - 1 };
        expect(climb(answers.find(asked) as Buffer, asked)).toEqual(root);
      }
    }
  });

  it('is the layer itself, filled up with empty trees, when all of it is asked for', () => {
    const { root, hashes, answers } = layerOf(3);
    const asked = { root, baseLayer: PIECE_LEVEL, index: 0, length: 4, proofLayers: 0 };
    expect(answers.find(asked)).toEqual(Buffer.concat([hashes, emptyHash(PIECE_LEVEL)]));
  });

  it('is given for higher levels, too', () => {
    const { root, answers } = layerOf(16);
    const asked = { root, baseLayer: PIECE_LEVEL + 1, index: 4, length: 2, proofLayers: 2 };
    expect(climb(answers.find(asked) as Buffer, asked)).toEqual(root);
  });

  it.each([
    ['of leaves, which are not kept', { baseLayer: 0 }],
    ['of another file', { root: Buffer.alloc(32) }],
    ['that are no power of two', { length: 3 }],
    ['that are one', { length: 1 }],
    ['that are more than a message holds', { length: 1024 }],
    ['that begin within a row', { index: 1 }],
    ['behind the end of the tree', { index: 2048 }],
    ['above the root', { baseLayer: 40 }],
    ['with proofs above the root', { proofLayers: 11 }],
    ['of numbers beyond all bounds', { index: 2 ** 32 - 2, proofLayers: 2 ** 32 - 1 }],
  ])('is refused for hashes %s', (_, change) => {
    const { root, answers } = layerOf(1025);
    const asked = { root, baseLayer: PIECE_LEVEL, index: 0, length: 2, proofLayers: 10 };
    expect(answers.find(asked)).toBeDefined();
    expect(answers.find({ ...asked, ...change })).toBeUndefined();
  });
});
