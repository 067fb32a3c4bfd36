import { hash } from 'node:crypto';
import { HASH_BYTES } from '../feed/pieceHash.ts';
import type { Layout, LayoutFile } from '../pieces/layout.ts';
import { encodeBytes, encodeDictionary, encodeInteger, encodeList } from './bencoding.ts';
import { levelsAbove } from './merkle.ts';

export interface TorrentContent {
  /** Of the folder that clients put the files in; a sole file that is in no folder names itself. */
  readonly name: string;
  /** Aligned. */
  readonly layout: Layout;
  /** Merkle root of each piece (32 bytes), in order: what the feed has. */
  readonly pieceHashes: readonly Uint8Array[];
  /** SHA-1 of each piece (20 bytes) with the pad behind it, in order. */
  readonly sha1Pieces: readonly Uint8Array[];
}

/**
 * A hybrid torrent: version 2 for clients that know it, and for all others a version 1 whose pads
 * (BEP 47) bring each file to where version 2 has it. Private (BEP 27): whose files these are did
 * not say that the world's DHT may know of them.
 */
export function buildTorrent({ name, layout, pieceHashes, sha1Pieces }: TorrentContent): Buffer {
  if (!layout.aligned) throw new Error('files that share pieces make no torrent of version 2');
  const layers = new Map<string, Buffer>();
  const tree: Folder = new Map();
  let firstPiece = 0;
  for (const { path, sizeBytes } of layout.files) {
    const nextPiece = firstPiece + Math.ceil(sizeBytes / layout.pieceLengthBytes);
    const hashes = Buffer.concat(pieceHashes.slice(firstPiece, nextPiece));
    firstPiece = nextPiece;
    const root = rootOf(hashes, layout);
    addToTree(tree, path.split('/'), fileEntry(sizeBytes, root));
    if (sizeBytes > layout.pieceLengthBytes) layers.set(root.toString('latin1'), hashes);
  }
  const sole = soleFile(layout);
  const info = encodeDictionary([
    ['file tree', encodeFolder(tree)],
    ['meta version', encodeInteger(2)],
    ['name', encodeBytes(sole?.path ?? name)],
    ['piece length', encodeInteger(layout.pieceLengthBytes)],
    ['pieces', encodeBytes(Buffer.concat(sha1Pieces))],
    ['private', encodeInteger(1)],
    sole === undefined
      ? ['files', encodeList(listOfVersion1(layout))]
      : ['length', encodeInteger(sole.sizeBytes)],
  ]);
  const encodedLayers = [...layers].map(
    ([root, hashes]) => [Buffer.from(root, 'latin1'), encodeBytes(hashes)] as const,
  );
  return encodeDictionary([
    ['info', info],
    ['piece layers', encodeDictionary(encodedLayers)],
  ]);
}

/** SHA-1 over a piece as version 1 sees it: up to its whole length with zeros, the last one not. */
export function sha1Piece(bytes: Uint8Array, paddedSizeBytes: number): Buffer {
  const pad = Buffer.alloc(paddedSizeBytes - bytes.byteLength);
  return hash('sha1', pad.length === 0 ? bytes : Buffer.concat([bytes, pad]), 'buffer');
}

function soleFile({ files }: Layout): LayoutFile | undefined {
  const [only, ...others] = files;
  return others.length === 0 && only?.path.includes('/') === false ? only : undefined;
}

function rootOf(hashes: Buffer, { pieceLengthBytes }: Layout): Buffer {
  if (hashes.length <= HASH_BYTES) return hashes;
  return levelsAbove(hashes, pieceLengthBytes).at(-1) as Buffer;
}

/* Version 2. */

type Folder = Map<string, Folder | Buffer>;

function addToTree(folder: Folder, [name = '', ...rest]: readonly string[], file: Buffer): void {
  if (rest.length === 0) {
    folder.set(name, file);
    return;
  }
  const known = folder.get(name);
  const inner = known instanceof Map ? known : new Map();
  folder.set(name, inner);
  addToTree(inner, rest, file);
}

function encodeFolder(folder: Folder): Buffer {
  return encodeDictionary(
    [...folder].map(
      ([name, node]) => [name, node instanceof Map ? encodeFolder(node) : node] as const,
    ),
  );
}

function fileEntry(sizeBytes: number, root: Buffer): Buffer {
  const length = ['length', encodeInteger(sizeBytes)] as const;
  const properties =
    sizeBytes === 0 ? [length] : [length, ['pieces root', encodeBytes(root)] as const];
  return encodeDictionary([['', encodeDictionary(properties)]]);
}

/* Version 1. */

/** A pad stands right before each file that would not start on a piece boundary otherwise. */
function listOfVersion1({ files, pieceLengthBytes }: Layout): Buffer[] {
  let missingBytes = 0;
  return files.flatMap(({ path, sizeBytes }) => {
    const file = encodeDictionary([
      ['length', encodeInteger(sizeBytes)],
      ['path', encodeList(path.split('/').map(encodeBytes))],
    ]);
    if (sizeBytes === 0) return [file];
    const padBytes = missingBytes;
    missingBytes = Math.ceil(sizeBytes / pieceLengthBytes) * pieceLengthBytes - sizeBytes;
    if (padBytes === 0) return [file];
    const pad = encodeDictionary([
      ['attr', encodeBytes('p')],
      ['length', encodeInteger(padBytes)],
      ['path', encodeList([encodeBytes('.pad'), encodeBytes(String(padBytes))])],
    ]);
    return [pad, file];
  });
}
