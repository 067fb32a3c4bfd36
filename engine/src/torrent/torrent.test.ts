import { createHash, randomBytes } from 'node:crypto';
import bencode from 'bencode';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { leafCountOf, pieceHash } from '../feed/pieceHash.ts';
import { type LayoutFile, layoutOf } from '../pieces/layout.ts';
import { decodeBencoded, encodeBytes, encodeDictionary, encodeInteger } from './bencoding.ts';
import { buildTorrent, sha1Piece } from './buildTorrent.ts';
import { loadTorrent } from './loadTorrent.ts';
import { verifyingHash, viewBytesOf, wireHashesOf } from './torrent.ts';

const PIECE = 32_768;

/** A set of files of random bytes, and the torrent of it. */
function contentOf(files: readonly LayoutFile[], pieceLengthBytes = PIECE) {
  const layout = layoutOf(files, pieceLengthBytes);
  const bodies = layout.files.map(({ sizeBytes }) => randomBytes(sizeBytes));
  const pieces = Array.from({ length: layout.pieceCount }, (_, piece) => {
    const { fileIndex, offset } = layout.locate(piece);
    return (bodies[fileIndex] as Buffer).subarray(offset, offset + layout.pieceSizeBytes(piece));
  });
  const view = viewBytesOf(layout);
  const pieceHashes = pieces.map((bytes, piece) => {
    const fileSizeBytes = layout.files[layout.locate(piece).fileIndex]?.sizeBytes ?? 0;
    const sizes = { sizeBytes: bytes.length, pieceLengthBytes, fileSizeBytes };
    return pieceHash(bytes, leafCountOf(sizes));
  });
  const sha1Pieces = pieces.map((bytes, piece) =>
    sha1Piece(bytes, Math.min(pieceLengthBytes, view - piece * pieceLengthBytes)),
  );
  const torrent = buildTorrent({ name: 'set', layout, pieceHashes, sha1Pieces });
  return { layout, pieceHashes, sha1Pieces, torrent };
}

const SETS: Readonly<Record<string, readonly LayoutFile[]>> = {
  'one file of many pieces': [{ path: 'a.bin', sizeBytes: 5 * PIECE + 1 }],
  'one file of less than a block': [{ path: 'a.bin', sizeBytes: 7 }],
  'one file of exactly a piece': [{ path: 'a.bin', sizeBytes: PIECE }],
  'one file in a folder': [{ path: 'in/a.bin', sizeBytes: 40_000 }],
  'nested folders, empty files and files of one piece': [
    { path: 'z.bin', sizeBytes: 3 * PIECE },
    { path: 'a/b/c/d.bin', sizeBytes: 2 * PIECE + 5 },
    { path: 'a/b-empty', sizeBytes: 0 },
    { path: 'a/b/one', sizeBytes: 1 },
    { path: '10', sizeBytes: 17_000 },
    { path: '9', sizeBytes: 20_000 },
    { path: 'zz-empty', sizeBytes: 0 },
  ],
  'names beyond ASCII, and of properties of objects': [
    { path: '\u{1F600}.bin', sizeBytes: 3 },
    { path: '\uFF5E.bin', sizeBytes: 4 },
    { path: '__proto__/constructor', sizeBytes: PIECE + 1 },
  ],
  'nothing but an empty file': [{ path: 'none', sizeBytes: 0 }],
};

describe('a hybrid torrent', () => {
  it.each(Object.entries(SETS))('of %s is loaded as it was built', (_, files) => {
    const { layout, torrent, pieceHashes, sha1Pieces } = contentOf(files);
    const loaded = loadTorrent(torrent);
    expect(loaded.layout.files).toEqual(layout.files);
    expect(loaded.layout.pieceCount).toBe(layout.pieceCount);
    expect(loaded.layout.aligned).toBe(true);
    expect(loaded.v1?.pieces).toEqual(Buffer.concat(sha1Pieces));
    expect(loaded.v2?.pieces).toEqual(Buffer.concat(pieceHashes));
    pieceHashes.forEach((hash, piece) => {
      expect(verifyingHash(loaded, piece)).toEqual(hash);
      const isLast = piece === layout.pieceCount - 1;
      expect(loaded.paddedSizeBytes(piece)).toBe(isLast ? layout.pieceSizeBytes(piece) : PIECE);
    });
  });

  it('is named by the hashes of its info dictionary as an independent codec cuts it out', () => {
    const { torrent } = contentOf([{ path: 'a/b', sizeBytes: 100_000 }]);
    const loaded = loadTorrent(torrent);
    const { info } = bencode.decode(torrent) as { info: object };
    const raw = bencode.encode(info);
    const sha1 = createHash('sha1').update(raw).digest();
    const sha256 = createHash('sha256').update(raw).digest();
    expect(loaded.v1?.infoHash).toEqual(sha1);
    expect(loaded.v2?.infoHash).toEqual(sha256);
    expect(wireHashesOf(loaded)).toEqual([sha1, sha256.subarray(0, 20)]);
  });

  it('is private, so that no client tells the world of it', () => {
    const { torrent } = contentOf([{ path: 'a', sizeBytes: 1 }]);
    expect(bencode.decode(torrent)).toMatchObject({ info: { private: 1 } });
  });

  it('is named after its only file when that is in no folder, else after the set', () => {
    expect(loadTorrent(contentOf([{ path: 'a', sizeBytes: 1 }]).torrent).name).toBe('a');
    expect(loadTorrent(contentOf([{ path: 'b/a', sizeBytes: 1 }]).torrent).name).toBe('set');
  });

  it('stands one file after the other however many files and pieces there are', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 4 * PIECE }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(sizes, (given) => {
        const files = given.map((sizeBytes, at) => ({ path: `${at % 3}/${at}`, sizeBytes }));
        const { layout, torrent } = contentOf(files);
        expect(loadTorrent(torrent).layout.files).toEqual(layout.files);
      }),
      { numRuns: 30 },
    );
  });
});

/** The halves of a torrent as an independent codec writes them. */
function version1(info: Record<string, unknown>): Uint8Array {
  return bencode.encode({ info: { name: 'set', 'piece length': PIECE, ...info } });
}

describe('a torrent of version 1', () => {
  it('has files that follow each other without a gap, in the order of the list', () => {
    const files = [
      { path: ['z', 'one'], length: PIECE - 10 },
      { path: ['a'], length: 20 },
    ];
    const pieces = randomBytes(40);
    const { layout, v1, v2 } = loadTorrent(version1({ files, pieces }));
    expect(v2).toBeUndefined();
    expect(v1?.pieces).toEqual(pieces);
    expect(layout.aligned).toBe(false);
    expect(layout.spans(0)).toEqual([
      { fileIndex: 0, offset: 0, sizeBytes: PIECE - 10 },
      { fileIndex: 1, offset: 0, sizeBytes: 10 },
    ]);
  });

  it('needs nothing of its pads when they align every file', () => {
    const files = [
      { path: ['a'], length: PIECE + 1 },
      { path: ['.pad', '1'], length: PIECE - 1, attr: 'p' },
      { path: ['b'], length: 2 },
      { path: ['.pad', '1'], length: PIECE - 2, attr: 'p' },
    ];
    const { layout, paddedSizeBytes } = loadTorrent(version1({ files, pieces: randomBytes(60) }));
    expect(layout.aligned).toBe(true);
    expect(layout.files.map(({ path }) => path)).toEqual(['a', 'b']);
    expect([0, 1, 2].map((piece) => layout.pieceSizeBytes(piece))).toEqual([PIECE, 1, 2]);
    expect([0, 1, 2].map(paddedSizeBytes)).toEqual([PIECE, PIECE, PIECE]);
  });

  it.each([
    ['do not align every file', 7, ['a', '.pad/1', 'b']],
    ['align files that are not sorted by name', PIECE - 1, ['c', '.pad/1', 'b']],
  ])('has its pads as files when they %s', (_, padBytes, paths) => {
    const files = [
      { path: [paths[0]], length: PIECE + 1 },
      { path: ['.pad', 'x'], length: padBytes, attr: 'p' },
      { path: ['b'], length: 2 },
    ];
    const pieces = randomBytes(20 * Math.ceil((PIECE + 3 + padBytes) / PIECE));
    const { layout } = loadTorrent(version1({ files, pieces }));
    expect(layout.files.map(({ path }) => path)).toEqual(paths);
  });
});

describe('a torrent that is wrong', () => {
  const good = { length: 1, pieces: randomBytes(20) };
  const entry = (path: unknown, more = {}) => ({
    files: [{ path, length: 1, ...more }],
    pieces: randomBytes(20),
  });
  it.each([
    ['no pieces at all', { length: 1 }, 'Malformed', 'info', 'neither pieces nor'],
    [
      'a piece length of 0',
      { ...good, 'piece length': 0 },
      'Malformed',
      'info.piece length',
      'is 0',
    ],
    ['a text for a size', { ...good, length: 'x' }, 'Malformed', 'info.length', '"x"'],
    ['no name', { ...good, name: '' }, 'Malformed', 'info.name', '0 bytes'],
    ['a path upwards', entry(['..', 'x']), 'Malformed', 'info.files[0].path[0]', '".."'],
    ['a path in a name', entry(['a/b']), 'Malformed', 'info.files[0].path[0]', '"a/b"'],
    ['an empty path', entry([]), 'Malformed', 'info.files[0].path', '0 bytes'],
    [
      'a name that is no text',
      entry([Buffer.of(0xff)]),
      'Malformed',
      'info.files[0].path[0]',
      'UTF-8',
    ],
    ['a link', entry(['a'], { attr: 'l' }), 'Unsupported', 'info.files[0]', 'link'],
    [
      'a hash too many',
      { length: 1, pieces: randomBytes(40) },
      'Inconsistent',
      'info.pieces',
      '40',
    ],
    ['a size below zero', entry(['a'], { length: -1 }), 'Malformed', 'info.files[0].length', '-1'],
    [
      'too many pieces',
      { length: 2 ** 49, pieces: '' },
      'Unsupported',
      'info.piece length',
      'pieces',
    ],
  ])('by %s is refused with the field and the value', (_, info, code, field, text) => {
    expect(() => loadTorrent(version1(info))).toThrow(
      expect.objectContaining({ code, field, message: expect.stringContaining(text) }),
    );
  });

  it.each([
    ['a file twice', [['a'], ['a']], 'twice'],
    ['a file that is a folder, too', [['a'], ['a', 'b']], 'file and folder'],
  ])('by %s is refused', (_, paths, text) => {
    const files = paths.map((path) => ({ path, length: 1 }));
    expect(() => loadTorrent(version1({ files, pieces: randomBytes(20) }))).toThrow(text);
  });

  /** Of a hybrid, with one thing changed; its halves are apart as decoded by the other codec. */
  function changed(change: (torrent: ReturnType<typeof parts>) => void): Uint8Array {
    const decoded = parts();
    change(decoded);
    return bencode.encode(decoded);
  }
  function parts() {
    const { torrent } = contentOf([
      { path: 'a', sizeBytes: 100 },
      { path: 'b', sizeBytes: 3 * PIECE },
    ]);
    const { info } = bencode.decode(torrent) as { info: Record<string, unknown> };
    const top = decodeBencoded(torrent);
    const layers = top.kind === 'dictionary' ? top.entries.get('piece layers') : undefined;
    const [root, layer] =
      (layers?.kind === 'dictionary' ? [...layers.entries][0] : undefined) ?? [];
    const value = layer?.kind === 'bytes' ? Buffer.from(layer.value) : Buffer.alloc(0);
    return { info, 'piece layers': new Map([[Buffer.from(root as string, 'latin1'), value]]) };
  }

  it.each([
    [
      'a layer that does not make its root',
      changed((torrent) => {
        for (const layer of torrent['piece layers'].values()) layer[0] = (layer[0] as number) ^ 1;
      }),
      'Inconsistent',
      'pieces root of b',
    ],
    [
      'a layer that is missing',
      changed((torrent) => torrent['piece layers'].clear()),
      'Unsupported',
      'none for b',
    ],
    [
      'other files in its version 1',
      changed(({ info }) => {
        const [first] = info.files as { length: number }[];
        if (first !== undefined) first.length = 99;
      }),
      'Inconsistent',
      'of 99 bytes where the file tree has "a" of 100 bytes',
    ],
    [
      'files of version 1 that are not aligned',
      changed(({ info }) => (info.files as unknown[]).splice(1, 1)),
      'Inconsistent',
      'piece boundary',
    ],
    [
      'a piece length that is no power of two',
      changed(({ info }) => Object.assign(info, { 'piece length': 50_000 })),
      'Malformed',
      '50000',
    ],
    [
      'another version',
      changed(({ info }) => Object.assign(info, { 'meta version': 3 })),
      'Malformed',
      'meta version: is 3',
    ],
  ])('by %s is refused', (_, torrent, code, text) => {
    expect(() => loadTorrent(torrent)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(text) }),
    );
  });

  it.each([
    ['a number with a leading zero', 'd4:infoi01ee'],
    ['a number that is a fraction', 'd4:infoi1.5ee'],
    ['a number that is too large', 'd4:infoi9007199254740993ee'],
    ['a string that is cut off', 'd4:info9:abce'],
    ['a string of no end', 'd4:info99999999999999999999:abce'],
    ['a key twice', 'd4:infoi1e4:infoi2ee'],
    ['something behind its end', 'd4:infodeei1e'],
    ['lists without end', 'l'.repeat(100_000)],
    ['nothing', ''],
  ])('by %s is refused', (_, text) => {
    expect(() => loadTorrent(Buffer.from(text, 'latin1'))).toThrow(
      expect.objectContaining({ code: 'Malformed', message: expect.stringMatching(/at byte \d/) }),
    );
  });

  it('is refused with an error of its own, whatever is changed in it', () => {
    const { torrent } = contentOf([
      { path: 'a/b', sizeBytes: 100 },
      { path: 'c', sizeBytes: 3 * PIECE },
    ]);
    const change = fc.record({ at: fc.nat(torrent.length - 1), to: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const bytes = Buffer.from(torrent);
        for (const { at, to } of changes) bytes[at] = to;
        try {
          loadTorrent(bytes);
        } catch (error) {
          expect(error).toMatchObject({ name: 'TorrentError' });
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('has no more values than a torrent can need', () => {
    const many = Buffer.from(`l${'i0e'.repeat(300_000)}e`);
    expect(() => decodeBencoded(many)).toThrow('more than 250000 values');
  });

  it('is not larger than a torrent can be', () => {
    expect(() => loadTorrent(Buffer.alloc(17_000_000))).toThrow(
      expect.objectContaining({ code: 'Unsupported' }),
    );
  });
});

describe('a dictionary', () => {
  it('is written in the order of the bytes of its keys', () => {
    const keys = ['\u{1F600}', '\uFF5E', 'b', 'a'];
    const written = encodeDictionary(keys.map((key) => [key, encodeInteger(1)]));
    const read = decodeBencoded(written);
    const order = read.kind === 'dictionary' ? [...read.entries.keys()] : [];
    const byBytes = keys.map((key) => Buffer.from(key)).sort(Buffer.compare);
    expect(order.map((key) => Buffer.from(key, 'latin1'))).toEqual(byBytes);
    expect(decodeBencoded(encodeBytes('x'))).toMatchObject({ kind: 'bytes' });
  });
});
