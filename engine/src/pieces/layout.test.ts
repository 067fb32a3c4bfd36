import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Bitfield } from './bitfield.ts';
import { layoutOf, pieceLengthFor } from './layout.ts';

const MIB = 1024 * 1024;

describe('the layout of files in pieces', () => {
  it.each([
    [0, 256 * 1024],
    [2048 * MIB, 256 * 1024],
    [2048 * MIB + 1, 512 * 1024],
    [1024 * 1024 * MIB, 16 * MIB],
  ])('of %d bytes has pieces of %d', (totalBytes, length) => {
    expect(pieceLengthFor(totalBytes)).toBe(length);
  });

  it('gives every byte to one piece, each file from a piece boundary on', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 3 * MIB }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(sizes, (given) => {
        const layout = layoutOf(given.map((sizeBytes, at) => ({ path: `f${at}`, sizeBytes })));
        const covered = layout.files.map(() => 0);
        for (let piece = 0; piece < layout.pieceCount; piece += 1) {
          const { fileIndex, offset } = layout.locate(piece);
          expect(offset).toBe(covered[fileIndex]);
          expect(layout.pieceSizeBytes(piece)).toBeGreaterThan(0);
          covered[fileIndex] = offset + layout.pieceSizeBytes(piece);
        }
        expect(covered).toEqual(layout.files.map(({ sizeBytes }) => sizeBytes));
      }),
    );
  });

  it('has files in the order of BEP 52, segment for segment', () => {
    const paths = ['a.b', 'a/b', 'a', 'B'].map((path) => ({ path, sizeBytes: 1 }));
    expect(layoutOf(paths).files.map(({ path }) => path)).toEqual(['B', 'a', 'a/b', 'a.b']);
  });

  it('has no piece behind the last', () => {
    expect(() => layoutOf([{ path: 'a', sizeBytes: 1 }]).locate(1)).toThrow(RangeError);
  });
});

describe('a bitfield', () => {
  it('comes back from its bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 40 }), (bits) => {
        const field = new Bitfield(bits.length);
        bits.forEach((bit, piece) => {
          if (bit) field.add(piece);
        });
        const parsed = Bitfield.parse(field.bytes, bits.length);
        expect([...(parsed?.pieces() ?? [])]).toEqual([...field.pieces()]);
        expect(parsed?.count).toBe(bits.filter(Boolean).length);
      }),
    );
  });

  it('is refused with a wrong length or with bits behind its end', () => {
    expect(Bitfield.parse(Buffer.of(0xff, 0), 8)).toBeUndefined();
    expect(Bitfield.parse(Buffer.of(0x01), 7)).toBeUndefined();
    expect(Bitfield.parse(Buffer.of(0xfe), 7)?.full).toBe(true);
  });
});
