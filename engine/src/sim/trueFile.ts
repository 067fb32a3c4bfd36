import { leafCountOf, pieceHash } from '../feed/pieceHash.ts';
import type { Layout } from '../pieces/layout.ts';

/** Every so many bytes of the file there is a number of its own. */
const STEP_BYTES = 4_096;

/**
 * The file as it is at its origin, once for all hosts: what they have of it are views of these
 * bytes, and whoever compares looks at the place in memory first.
 */
export class TrueFile {
  readonly bytes: Buffer<ArrayBuffer>;
  readonly layout: Layout;
  readonly #hashes = new Map<number, Buffer>();

  constructor(layout: Layout) {
    this.layout = layout;
    // Not of the pool: no other view shares this memory.
    this.bytes = Buffer.from(new ArrayBuffer(layout.totalBytes));
    for (let at = 0; at + 4 <= layout.totalBytes; at += STEP_BYTES) {
      this.bytes.writeUInt32LE(at / STEP_BYTES + 1, at);
    }
  }

  piece(piece: number): Buffer {
    const start = this.startOf(piece);
    return this.bytes.subarray(start, start + this.layout.pieceSizeBytes(piece));
  }

  startOf(piece: number): number {
    return this.layout.locate(piece).offset;
  }

  /** Where in the file a view of it begins; undefined: these are other bytes. */
  placeOf(bytes: Uint8Array): number | undefined {
    return bytes.buffer === this.bytes.buffer ? bytes.byteOffset : undefined;
  }

  trueHash(piece: number): Buffer {
    const known = this.#hashes.get(piece) ?? this.#hash(piece, this.piece(piece));
    this.#hashes.set(piece, known);
    return known;
  }

  /** Equal bytes have an equal hash: only others are hashed. */
  hashOf(piece: number, bytes: Uint8Array): Buffer {
    if (this.placeOf(bytes) === this.startOf(piece)) return this.trueHash(piece);
    return this.piece(piece).equals(bytes) ? this.trueHash(piece) : this.#hash(piece, bytes);
  }

  #hash(piece: number, bytes: Uint8Array): Buffer {
    const sizeBytes = this.layout.pieceSizeBytes(piece);
    const { pieceLengthBytes, totalBytes: fileSizeBytes } = this.layout;
    return pieceHash(bytes, leafCountOf({ sizeBytes, pieceLengthBytes, fileSizeBytes }));
  }
}
