import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { piecesOf } from './extents.ts';
import { TopUpPieces } from './topUpPieces.ts';

const ALL = new Uint8Array(4).fill(0xff);

function taken(pieces: TopUpPieces, leaseId: string): number[] {
  return [...piecesOf(pieces.extentsOf(leaseId))];
}

describe('the pieces that nodes bring themselves', () => {
  it('are different ones for each node, until all were given', () => {
    const pieces = new TopUpPieces(32);
    for (let node = 0; node < 8; node += 1) pieces.take(`n${node}`, ALL, 4, node / 3);
    const given = Array.from({ length: 8 }, (_, node) => taken(pieces, `n${node}`)).flat();
    expect(new Set(given).size).toBe(32);
  });

  it('lie one after the other from where the dice fell', () => {
    const pieces = new TopUpPieces(32);
    pieces.take('one', ALL, 4, 0.5);
    expect(pieces.extentsOf('one')).toEqual([{ first: 16, count: 4 }]);
  });

  it('are never ones that the node does not lack, nor more than were asked for', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.nat(40),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (acceptable, count, start) => {
          const pieces = new TopUpPieces(30);
          pieces.take('one', acceptable, count, start);
          const given = taken(pieces, 'one');
          expect(given.length).toBeLessThanOrEqual(count);
          for (const piece of given) {
            expect(piece).toBeLessThan(30);
            expect(((acceptable[piece >> 3] as number) >> (7 - (piece & 7))) & 1).toBe(1);
          }
        },
      ),
    );
  });

  it('are given to the next when they were given back', () => {
    const pieces = new TopUpPieces(4);
    pieces.take('one', ALL, 4, 0);
    pieces.giveBack('one', [2, 3]);
    pieces.take('two', ALL, 2, 0);
    expect(taken(pieces, 'two')).toEqual([2, 3]);
  });

  it('are the work that is left, by what the holder says', () => {
    const pieces = new TopUpPieces(8);
    pieces.take('one', ALL, 4, 0);
    pieces.progress('one', [{ first: 2, count: 2 }]);
    expect(taken(pieces, 'one')).toEqual([2, 3]);
    pieces.release('one');
    expect(pieces.has('one')).toBe(false);
  });
});
