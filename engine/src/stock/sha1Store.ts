import type { PieceStore } from '../ports/pieceStore.ts';
import { sha1Piece } from '../torrent/buildTorrent.ts';
import type { Torrent } from '../torrent/torrent.ts';

/**
 * A store of an ordinary torrent of version 1, whose pieces are verified by SHA-1 before the store
 * below sees them; what that notes of them is its own affair.
 */
export function sha1Store(store: PieceStore, { paddedSizeBytes }: Torrent): PieceStore {
  return {
    open: (signal) => store.open(signal),
    keepFeed: (batches) => store.keepFeed(batches),
    put: async (piece, bytes, expected) => {
      const hash = sha1Piece(bytes, paddedSizeBytes(piece));
      if (expected !== undefined && Buffer.compare(hash, expected) !== 0) {
        return { stored: false, hash };
      }
      return { stored: (await store.put(piece, bytes)).stored, hash };
    },
    // Earlier versions are known by other hashes than a torrent of version 1 has.
    hasEarlier: () => false,
    copy: (piece, expected) => store.copy(piece, expected),
    read: (piece, offset, length, into) => store.read(piece, offset, length, into),
    complete: (signal) => store.complete(signal),
    close: () => store.close(),
  };
}
