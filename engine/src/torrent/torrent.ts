import { HASH_BYTES } from '../feed/pieceHash.ts';
import type { Layout } from '../pieces/layout.ts';

/** What is in a torrent of version 1, version 2 or both. */
export interface Torrent {
  /** Of the file, or of the folder that clients put the files in. */
  readonly name: string;
  /** Paths are relative to that folder; without pad files. */
  readonly layout: Layout;
  readonly v1: TorrentV1 | undefined;
  readonly v2: TorrentV2 | undefined;
  /**
   * With the zeros behind a file's end that SHA-1 is over (BEP 47), and that peers may ask for:
   * libtorrent asks for the blocks of version 2 whole, those at the very end, too.
   */
  paddedSizeBytes(piece: number): number;
}

export interface TorrentV1 {
  /** SHA-1 of the info dictionary, 20 bytes. */
  readonly infoHash: Buffer;
  /** SHA-1 of each piece, one behind the other. */
  readonly pieces: Buffer;
}

export interface TorrentV2 {
  /** SHA-256 of the info dictionary, 32 bytes; the wire has its first 20. */
  readonly infoHash: Buffer;
  /** Merkle root of each piece's 16 KiB leaves, one behind the other: all piece layers in a row. */
  readonly pieces: Buffer;
  /** Of files of more than one piece. */
  readonly layers: readonly PieceLayer[];
}

export interface PieceLayer {
  /** The file's pieces root. */
  readonly root: Buffer;
  /** One hash a piece. */
  readonly hashes: Buffer;
}

const WIRE_HASH_BYTES = 20;
export const SHA1_BYTES = 20;

/** Under which peers may ask for it: both of a hybrid. */
export function wireHashesOf({ v1, v2 }: Torrent): Buffer[] {
  return [v1?.infoHash, v2?.infoHash.subarray(0, WIRE_HASH_BYTES)].filter(
    (hash) => hash !== undefined,
  );
}

/** What a piece is verified by: its Merkle root (32 bytes) where there is one, else SHA-1 (20). */
export function verifyingHash({ v1, v2 }: Torrent, piece: number): Buffer {
  const [pieces, bytes] = v2 === undefined ? [v1?.pieces, SHA1_BYTES] : [v2.pieces, HASH_BYTES];
  if (pieces === undefined) throw new Error('a torrent of no version');
  return pieces.subarray(piece * bytes, (piece + 1) * bytes);
}

/** `viewBytes`: of the files and the pads between them, and behind the last if there is one. */
export function paddedSizes(layout: Layout, viewBytes: number): Torrent['paddedSizeBytes'] {
  const { pieceLengthBytes } = layout;
  return (piece) => Math.min(pieceLengthBytes, viewBytes - piece * pieceLengthBytes);
}

/** In version 1 there is no pad behind the last file. */
export function viewBytesOf(layout: Layout): number {
  const last = layout.pieceCount - 1;
  return last < 0 ? 0 : last * layout.pieceLengthBytes + layout.pieceSizeBytes(last);
}
