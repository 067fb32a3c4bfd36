import { leafCountOf, pieceHash } from '../feed/pieceHash.ts';
import type { Layout, LayoutFile } from '../pieces/layout.ts';

/** Every so many bytes of a file there is a number of its own. */
const STEP_BYTES = 4_096;
const NUMBER_BYTES = 4;
const NUMBERS_OF_A_FILE = 1_000_000;

export interface TrueFileOptions {
  /** Of these pieces one bit is another one than in the file that is made without them. */
  readonly changed?: readonly number[];
}

/**
 * The file, or the set of them, as it is at its origin, once for all hosts: what they have of it are
 * views of these bytes, and whoever compares looks at the place in memory first. Worlds may share it.
 */
export class TrueFile {
  /** Of all files, one after the other. */
  readonly bytes: Buffer<ArrayBuffer>;
  readonly layout: Layout;
  /** Of each file, in all of them. */
  readonly #starts: number[] = [];
  readonly #hashes = new Map<number, Buffer>();

  constructor(layout: Layout, { changed = [] }: TrueFileOptions = {}) {
    this.layout = layout;
    // Not of the pool: no other view shares this memory.
    this.bytes = Buffer.from(new ArrayBuffer(layout.totalBytes));
    let start = 0;
    for (const [index, { sizeBytes }] of layout.files.entries()) {
      this.#starts.push(start);
      this.#number(this.bytes.subarray(start, start + sizeBytes), index * NUMBERS_OF_A_FILE);
      start += sizeBytes;
    }
    for (const piece of changed) {
      const at = this.startOf(piece);
      this.bytes[at] = (this.bytes[at] as number) ^ 0x80;
    }
  }

  piece(piece: number): Buffer {
    const start = this.startOf(piece);
    return this.bytes.subarray(start, start + this.layout.pieceSizeBytes(piece));
  }

  /** Undefined: there is no such file. */
  file(path: string): Buffer | undefined {
    const index = this.layout.files.findIndex((file) => file.path === path);
    const start = this.#starts[index];
    if (start === undefined) return undefined;
    return this.bytes.subarray(start, start + (this.layout.files[index] as LayoutFile).sizeBytes);
  }

  startOf(piece: number): number {
    const { fileIndex, offset } = this.layout.locate(piece);
    return (this.#starts[fileIndex] as number) + offset;
  }

  /** Where a view of it begins; undefined: these are other bytes. */
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

  /** The same whatever lies before the file. */
  #number(file: Buffer, first: number): void {
    for (let at = 0; at + NUMBER_BYTES <= file.length; at += STEP_BYTES) {
      file.writeUInt32LE(first + at / STEP_BYTES + 1, at);
    }
  }

  #hash(piece: number, bytes: Uint8Array): Buffer {
    const { pieceLengthBytes, files } = this.layout;
    const { fileIndex } = this.layout.locate(piece);
    const { sizeBytes: fileSizeBytes } = files[fileIndex] as LayoutFile;
    const sizeBytes = this.layout.pieceSizeBytes(piece);
    return pieceHash(bytes, leafCountOf({ sizeBytes, pieceLengthBytes, fileSizeBytes }));
  }
}
