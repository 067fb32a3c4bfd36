import { hash } from 'node:crypto';
import { HASH_BYTES, LEAF_BYTES } from '../feed/pieceHash.ts';
import { type Layout, layoutOf } from '../pieces/layout.ts';
import { decodeBencoded } from './bencoding.ts';
import { Field } from './fields.ts';
import { levelsAbove } from './merkle.ts';
import {
  type PieceLayer,
  paddedSizes,
  SHA1_BYTES,
  type Torrent,
  type TorrentV2,
} from './torrent.ts';
import { TorrentError } from './torrentError.ts';
import {
  checkUnique,
  filesOfVersion1,
  filesOfVersion2,
  type ListedFile,
  segmentOf,
} from './torrentFiles.ts';

/** Piece hashes of both versions for some 300,000 pieces. */
export const MAX_TORRENT_BYTES = 16 * 1024 * 1024;
const MAX_PIECE_LENGTH_BYTES = 64 * 1024 * 1024;
const MAX_PIECES = 262_144;

/** A torrent of version 1, version 2 or both. Throws a TorrentError that names what is wrong. */
export function loadTorrent(bytes: Uint8Array): Torrent {
  if (bytes.byteLength > MAX_TORRENT_BYTES) {
    const problem = `has ${bytes.byteLength} bytes, more than ${MAX_TORRENT_BYTES}`;
    throw new TorrentError('Unsupported', 'torrent', problem);
  }
  const top = new Field('torrent', decodeBencoded(bytes));
  const info = new Field('info', top.dictionary().get('info'));
  const has1 = info.at('pieces').isThere;
  const has2 = info.at('meta version').isThere;
  if (!has1 && !has2) throw info.refuse('has neither pieces nor a meta version');
  if (has2) info.at('meta version').integer({ min: 2, max: 2 });
  const pieceLengthBytes = pieceLengthOf(info.at('piece length'), has2);
  const files1 = has1 ? filesOfVersion1(info) : undefined;
  const files2 = has2 ? filesOfVersion2(info.at('file tree')) : undefined;
  const layout =
    files2 === undefined
      ? layoutOfVersion1(info, files1 as ListedFile[], pieceLengthBytes)
      : layoutOfVersion2(info, files2, pieceLengthBytes);
  if (files1 !== undefined && files2 !== undefined) checkSame(info, files1, layout);
  const viewBytes = files1 === undefined ? layout.pieceCount * pieceLengthBytes : sumOf(files1);
  const infoHash = (algorithm: string) => hash(algorithm, info.raw, 'buffer');
  const layers = new Field('piece layers', top.dictionary().get('piece layers'));
  return {
    name: segmentOf(info.at('name')),
    layout,
    v1: has1
      ? { infoHash: infoHash('sha1'), pieces: sha1Pieces(info.at('pieces'), layout, viewBytes) }
      : undefined,
    v2:
      files2 === undefined
        ? undefined
        : { infoHash: infoHash('sha256'), ...merklePieces(layers, files2, layout) },
    paddedSizeBytes: paddedSizes(layout, viewBytes),
  };
}

function pieceLengthOf(field: Field, has2: boolean): number {
  const length = field.integer({ min: has2 ? LEAF_BYTES : 1, max: MAX_PIECE_LENGTH_BYTES });
  if (has2 && !isPowerOfTwo(length)) throw field.refuse(`is ${length}, not a power of two`);
  return length;
}

function layoutOfVersion2(info: Field, files: readonly ListedFile[], pieceLengthBytes: number) {
  const layout = checkedLayout(info, files, pieceLengthBytes, true);
  const isSorted = layout.files.every(({ path }, at) => path === files[at]?.path);
  if (!isSorted) throw info.at('file tree').refuse('is not sorted by name');
  return layout;
}

/**
 * Aligned where pads bring every file to a piece boundary: nothing has to be kept of them then.
 * Other pads are files like any other, as they are to clients that know nothing of BEP 47.
 */
function layoutOfVersion1(info: Field, files: readonly ListedFile[], pieceLengthBytes: number) {
  const isTree = isPowerOfTwo(pieceLengthBytes) && pieceLengthBytes >= LEAF_BYTES;
  if (isTree && files.some(({ isPad }) => isPad) && areAligned(files, pieceLengthBytes)) {
    const content = files.filter(({ isPad }) => !isPad);
    const layout = checkedLayout(info, content, pieceLengthBytes, true);
    if (layout.files.every(({ path }, at) => path === content[at]?.path)) return layout;
  }
  const named = files.map((file, at) => (file.isPad ? { ...file, path: `.pad/${at}` } : file));
  checkUnique(info.at('files'), named);
  return checkedLayout(info, named, pieceLengthBytes, false);
}

/** Each file that has bytes starts where the one before it ends, rounded up to a piece. */
function areAligned(files: readonly ListedFile[], pieceLengthBytes: number): boolean {
  let at = 0;
  let contentEnd = 0;
  for (const { isPad, sizeBytes } of files) {
    if (!isPad && sizeBytes > 0) {
      if (at !== Math.ceil(contentEnd / pieceLengthBytes) * pieceLengthBytes) return false;
      contentEnd = at + sizeBytes;
    }
    at += sizeBytes;
  }
  return at <= Math.ceil(contentEnd / pieceLengthBytes) * pieceLengthBytes;
}

function checkedLayout(
  info: Field,
  files: readonly ListedFile[],
  pieceLengthBytes: number,
  aligned: boolean,
): Layout {
  const plain = files.map(({ path, sizeBytes }) => ({ path, sizeBytes }));
  const layout = layoutOf(plain, pieceLengthBytes, { aligned });
  if (layout.pieceCount <= MAX_PIECES) return layout;
  throw info
    .at('piece length')
    .refuse(`makes ${layout.pieceCount} pieces, more than ${MAX_PIECES}`, 'Unsupported');
}

/** The halves of a hybrid must be one set of files (BEP 52). */
function checkSame(info: Field, files1: readonly ListedFile[], layout: Layout): void {
  const list = info.at(info.at('length').isThere ? 'length' : 'files');
  const content = files1.filter(({ isPad }) => !isPad);
  const count = Math.max(content.length, layout.files.length);
  for (let at = 0; at < count; at += 1) {
    const [one, two] = [content[at], layout.files[at]];
    if (one?.path === two?.path && one?.sizeBytes === two?.sizeBytes) continue;
    throw list.refuse(`has ${told(one)} where the file tree has ${told(two)}`, 'Inconsistent');
  }
  if (areAligned(files1, layout.pieceLengthBytes)) return;
  throw list.refuse('has files that do not start on a piece boundary', 'Inconsistent');
}

function told(file: { path: string; sizeBytes: number } | undefined): string {
  return file === undefined ? 'nothing' : `${JSON.stringify(file.path)} of ${file.sizeBytes} bytes`;
}

function sha1Pieces(field: Field, { pieceLengthBytes }: Layout, viewBytes: number): Buffer {
  const pieces = field.bytes();
  const expected = Math.ceil(viewBytes / pieceLengthBytes) * SHA1_BYTES;
  if (pieces.length === expected) return pieces;
  throw field.refuse(`has ${pieces.length} bytes, the files make ${expected}`, 'Inconsistent');
}

function merklePieces(
  field: Field,
  files: readonly ListedFile[],
  { pieceLengthBytes, pieceCount }: Layout,
): Pick<TorrentV2, 'pieces' | 'layers'> {
  const layers: PieceLayer[] = [];
  const rows: Buffer[] = [];
  for (const { path, sizeBytes, root } of files) {
    if (root === undefined) continue;
    if (sizeBytes <= pieceLengthBytes) {
      rows.push(root);
      continue;
    }
    const hashes = layerOf(field, path, root);
    const expected = Math.ceil(sizeBytes / pieceLengthBytes) * HASH_BYTES;
    if (hashes.length !== expected) {
      const problem = `has ${hashes.length} bytes for ${path}, its size makes ${expected}`;
      throw field.refuse(problem, 'Inconsistent');
    }
    if (levelsAbove(hashes, pieceLengthBytes).at(-1)?.equals(root) !== true) {
      throw field.refuse(`does not make the pieces root of ${path}`, 'Inconsistent');
    }
    layers.push({ root, hashes });
    rows.push(hashes);
  }
  return { pieces: Buffer.concat(rows, pieceCount * HASH_BYTES), layers };
}

function layerOf(field: Field, path: string, root: Buffer): Buffer {
  const layer = field.at(root.toString('latin1'));
  if (layer.isThere) return layer.bytes();
  throw field.refuse(`has none for ${path}, and peers are not asked for any`, 'Unsupported');
}

function sumOf(files: readonly ListedFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function isPowerOfTwo(count: number): boolean {
  return Number.isInteger(Math.log2(count));
}
