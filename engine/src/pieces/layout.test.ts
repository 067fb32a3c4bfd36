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

  it('gives every byte to one piece when pieces span files, without a gap', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 3 * MIB }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(sizes, (given) => {
        const files = given.map((sizeBytes, at) => ({ path: `f${99 - at}`, sizeBytes }));
        const layout = layoutOf(files, 256 * 1024, { aligned: false });
        expect(layout.files).toEqual(files);
        const covered = files.map(() => 0);
        for (let piece = 0; piece < layout.pieceCount; piece += 1) {
          const spans = layout.spans(piece);
          expect(spans[0]).toMatchObject(layout.locate(piece));
          for (const { fileIndex, offset, sizeBytes } of spans) {
            expect(offset).toBe(covered[fileIndex]);
            covered[fileIndex] = offset + sizeBytes;
          }
          const inSpans = spans.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
          expect(inSpans).toBe(layout.pieceSizeBytes(piece));
          if (piece < layout.pieceCount - 1) expect(inSpans).toBe(layout.pieceLengthBytes);
        }
        expect(covered).toEqual(given);
      }),
    );
  });

  it('has one span a piece when aligned', () => {
    const layout = layoutOf(
      [0, MIB + 1, 0, 5].map((sizeBytes, at) => ({ path: `${at}`, sizeBytes })),
    );
    const spans = Array.from({ length: layout.pieceCount }, (_, piece) => layout.spans(piece));
    expect(spans.at(-2)).toEqual([{ fileIndex: 1, offset: MIB, sizeBytes: 1 }]);
    expect(spans.at(-1)).toEqual([{ fileIndex: 3, offset: 0, sizeBytes: 5 }]);
    expect(spans.every(({ length }) => length === 1)).toBe(true);
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
