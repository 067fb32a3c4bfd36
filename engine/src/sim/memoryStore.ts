import { leafCountOf, pieceHash } from '../feed/pieceHash.ts';
import type { Layout } from '../pieces/layout.ts';
import type { Clock } from '../ports/clock.ts';
import type { PieceStore, PutResult, StoredState } from '../ports/pieceStore.ts';

/** The file as it is at its origin, and the hashes of its pieces, made once for all hosts. */
export class TrueFile {
  readonly bytes: Buffer;
  readonly layout: Layout;
  readonly #hashes = new Map<number, Buffer>();

  constructor(bytes: Buffer, layout: Layout) {
    this.bytes = bytes;
    this.layout = layout;
  }

  piece(piece: number): Buffer {
    const { offset } = this.layout.locate(piece);
    return this.bytes.subarray(offset, offset + this.layout.pieceSizeBytes(piece));
  }

  /** Equal bytes have an equal hash: only others are hashed. */
  hashOf(piece: number, bytes: Uint8Array): Buffer {
    const truth = this.piece(piece);
    if (!truth.equals(bytes)) return this.#hash(piece, bytes);
    const known = this.#hashes.get(piece) ?? this.#hash(piece, truth);
    this.#hashes.set(piece, known);
    return known;
  }

  #hash(piece: number, bytes: Uint8Array): Buffer {
    const sizeBytes = this.layout.pieceSizeBytes(piece);
    const { pieceLengthBytes, totalBytes: fileSizeBytes } = this.layout;
    return pieceHash(bytes, leafCountOf({ sizeBytes, pieceLengthBytes, fileSizeBytes }));
  }
}

/**
 * A disk that keeps which pieces it has, because what is in them is the same for all; it writes at
 * its rate. What it kept outlives the process.
 */
export class MemoryStore implements PieceStore {
  readonly kept = new Map<number, Uint8Array>();
  /** Pieces that were written again although they were here. */
  writtenTwice = 0;
  /** Hashes (hex) of the true pieces that an earlier version has. */
  readonly earlier = new Set<string>();
  /** What copy() was asked for. */
  copied = 0;
  /** Set: what every write fails with. */
  failure: Error | undefined;
  readonly #file: TrueFile;
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  readonly #feed: Uint8Array[] = [];
  #freeAtMs = 0;

  constructor(file: TrueFile, clock: Clock, bytesPerSecond = Number.POSITIVE_INFINITY) {
    this.#file = file;
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  async open(): Promise<StoredState> {
    return { verified: new Map(this.kept), proven: new Map(), feed: [...this.#feed] };
  }

  keepFeed(batches: readonly Uint8Array[]): void {
    this.#feed.push(...batches.map((batch) => Uint8Array.from(batch)));
  }

  async put(piece: number, bytes: Uint8Array, expected?: Uint8Array): Promise<PutResult> {
    const hash = this.#file.hashOf(piece, bytes);
    await this.#write(bytes.byteLength);
    if (this.failure !== undefined) throw this.failure;
    if (expected !== undefined && !hash.equals(expected)) return { stored: false, hash };
    if (this.kept.has(piece)) this.writtenTwice += 1;
    this.kept.set(piece, hash);
    return { stored: true, hash };
  }

  hasEarlier(_piece: number, hash: Uint8Array): boolean {
    return this.earlier.has(Buffer.from(hash).toString('hex'));
  }

  async copy(piece: number, expected: Uint8Array): Promise<PutResult> {
    this.copied += 1;
    return this.put(piece, this.#file.piece(piece), expected);
  }

  async read(piece: number, offset: number, length: number, into?: Uint8Array) {
    const bytes = this.#file.piece(piece).subarray(offset, offset + length);
    into?.set(bytes);
    return into ?? bytes;
  }

  async complete(): Promise<void> {}

  async close(): Promise<void> {}

  #write(bytes: number): Promise<void> {
    const nowMs = this.#clock.now();
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (bytes / this.#bytesPerSecond) * 1000;
    return new Promise((resolve) => this.#clock.setTimer(this.#freeAtMs - nowMs, resolve));
  }
}
