import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseTopUp } from './chooseTopUp.ts';

describe('the choice of a top-up piece', () => {
  const choice = {
    pieceCount: 12,
    sent: [0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    holds: (piece: number) => piece === 1 || piece === 2,
    assembles: (piece: number) => piece === 9,
    random: () => 0,
  };

  it.each([
    ['the one sent least of those that are whole', [0b1110_0000, 0b0100_0000], 2],
    ['one that is still coming when nothing else is acceptable', [0b1001_1111, 0b1111_1111], 9],
    ['none when it has nothing acceptable', [0b1000_0000, 0], undefined],
    ['none for a bitfield that is too short', [], undefined],
  ])('is %s', (_, bits, expected) => {
    expect(chooseTopUp(Uint8Array.from(bits), choice)).toBe(expected);
  });

  it('is another one at each of two relays that know the same, and among the first', () => {
    const all = { pieceCount: 100, sent: [1], holds: () => true, assembles: () => false };
    const acceptable = new Uint8Array(13).fill(255);
    const chosen = [0, 0.5, 0.99].map((at) =>
      chooseTopUp(acceptable, { ...all, random: () => at }),
    );
    expect(chosen).toEqual([1, 5, 8]);
  });

  it('is acceptable and here, whatever is asked', () => {
    const pieceCount = 40;
    const anyBytes = fc.uint8Array({ maxLength: 200 });
    const set = fc.uniqueArray(fc.nat(pieceCount - 1));
    const drawn = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(anyBytes, set, set, drawn, (acceptable, held, coming, at) => {
        const piece = chooseTopUp(acceptable, {
          pieceCount,
          sent: new Uint32Array(pieceCount),
          holds: (each) => held.includes(each),
          assembles: (each) => coming.includes(each),
          random: () => at,
        });
        const fits = [...held, ...coming].filter(
          (each) => ((acceptable[each >> 3] ?? 0) & (128 >> (each & 7))) !== 0,
        );
        if (fits.length === 0) expect(piece).toBeUndefined();
        else expect(fits).toContain(piece);
      }),
    );
  });
});
