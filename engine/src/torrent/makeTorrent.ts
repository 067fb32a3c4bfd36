import { createHash } from 'node:crypto';
import type { Layout } from '../pieces/layout.ts';
import { buildTorrent } from './buildTorrent.ts';
import { paddedSizes, viewBytesOf } from './torrent.ts';

export interface FinishedSet {
  /** Of the folder that clients put the files in. */
  readonly name: string;
  /** Aligned. */
  readonly layout: Layout;
  /** Merkle root of a piece. */
  hashOf(piece: number): Uint8Array | undefined;
  /** Bytes of a verified piece. */
  read(piece: number, offset: number, length: number): Promise<Uint8Array>;
}

/** Read and hashed at a time: half a millisecond, between which others have their turns. */
const CHUNK_BYTES = 1_048_576;

/** The hybrid torrent of a set that is all there; reads it once, for version 1. */
export async function makeTorrent(set: FinishedSet, signal: AbortSignal): Promise<Buffer> {
  const { name, layout, hashOf, read } = set;
  const paddedSizeBytes = paddedSizes(layout, viewBytesOf(layout));
  const pieceHashes: Uint8Array[] = [];
  const sha1Pieces: Buffer[] = [];
  for (let piece = 0; piece < layout.pieceCount; piece += 1) {
    const known = hashOf(piece);
    if (known === undefined) throw new Error(`piece ${piece} of a finished set has no hash`);
    pieceHashes.push(known);
    const sha1 = createHash('sha1');
    const sizeBytes = layout.pieceSizeBytes(piece);
    for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
      signal.throwIfAborted();
      sha1.update(await read(piece, at, Math.min(CHUNK_BYTES, sizeBytes - at)));
    }
    sha1.update(Buffer.alloc(paddedSizeBytes(piece) - sizeBytes));
    sha1Pieces.push(sha1.digest());
  }
  return buildTorrent({ name, layout, pieceHashes, sha1Pieces });
}
