import type { PieceStore, PutResult, StoredState } from '../ports/pieceStore.ts';
import { flipped } from './mutation.ts';
import { PieceView } from './pieceView.ts';
import type { TrueFile } from './trueFile.ts';
import type { VirtualClock } from './virtualClock.ts';

export interface DiskOptions {
  /** Bytes per second that it writes, and what it holds. */
  readonly bytesPerSecond?: number;
  readonly capacityBytes?: number;
}

/** What is written is safe from a loss of power after at most so long. */
const SYNC_MS = 1_000;

interface Written {
  readonly piece: number;
  readonly atMs: number;
}

/**
 * A disk that keeps which pieces it has, because what is in them is the same for all; it writes at
 * its rate. What it kept outlives the process, and what it synced a loss of power.
 */
export class MemoryStore implements PieceStore {
  /** Pieces that were written again although they were here. */
  writtenTwice = 0;
  /** Hashes (hex) of the true pieces that an earlier version has. */
  readonly earlier = new Set<string>();
  /** What copy() was asked for. */
  copied = 0;
  /** Set: what every write fails with. */
  failure: Error | undefined;
  /** One bit of everything that is read is another one than was written. */
  isCorrupt = false;
  /** Reads that it spoiled by that. */
  corruptReads = 0;
  readonly #file: TrueFile;
  readonly #clock: VirtualClock;
  readonly #options: DiskOptions;
  /** The same batch is the same memory for all stores. */
  readonly #intern: (batch: Uint8Array) => Uint8Array;
  readonly #hashes: (Uint8Array | undefined)[];
  /** Pieces that may be written once more. */
  readonly #doubted = new Set<number>();
  readonly #feed: Uint8Array[] = [];
  #keptCount = 0;
  #usedBytes = 0;
  #freeAtMs = 0;
  #unsynced: Written[] = [];

  constructor(
    file: TrueFile,
    clock: VirtualClock,
    intern: (batch: Uint8Array) => Uint8Array,
    options: DiskOptions = {},
  ) {
    this.#file = file;
    this.#clock = clock;
    this.#intern = intern;
    this.#options = options;
    this.#hashes = new Array(file.layout.pieceCount).fill(undefined);
  }

  /** Whether it is of this version. */
  isOf(file: TrueFile): boolean {
    return file === this.#file;
  }

  get keptCount(): number {
    return this.#keptCount;
  }

  /** Pieces that it has, with their hashes. */
  kept(): Map<number, Uint8Array> {
    const kept = new Map<number, Uint8Array>();
    this.#hashes.forEach((hash, piece) => {
      if (hash !== undefined) kept.set(piece, hash);
    });
    return kept;
  }

  /** As an earlier run left it: these pieces as they are, or as something else. */
  leave(pieces: readonly number[], isRight = true): void {
    for (const piece of pieces) {
      const hash = this.#file.trueHash(piece);
      this.#enter(piece, isRight ? hash : flipped(hash));
    }
  }

  /** Nobody vouches for them any more: that they are fetched again is no mistake. */
  doubt(pieces: readonly number[]): void {
    for (const piece of pieces) this.#doubted.add(piece);
  }

  async open(): Promise<StoredState> {
    return { verified: this.kept(), proven: new Map(), feed: [...this.#feed] };
  }

  keepFeed(batches: readonly Uint8Array[]): void {
    this.#feed.push(...batches.map(this.#intern));
  }

  async put(piece: number, bytes: Uint8Array, expected?: Uint8Array): Promise<PutResult> {
    this.#clock.settleSoon();
    const content = bytes instanceof PieceView ? bytes.content : bytes;
    const hash = this.#file.hashOf(piece, content);
    await this.#write(bytes.byteLength);
    if (this.failure !== undefined) throw this.failure;
    if (expected !== undefined && !hash.equals(expected)) return { stored: false, hash };
    this.#keep(piece, hash, bytes.byteLength);
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
    this.#clock.settleSoon();
    const right = this.#file.piece(piece).subarray(offset, offset + length);
    if (this.isCorrupt) this.corruptReads += 1;
    const bytes = this.isCorrupt ? flipped(right) : right;
    into?.set(bytes);
    return into ?? bytes;
  }

  async complete(): Promise<void> {
    this.#clock.settleSoon();
  }

  async close(): Promise<void> {}

  /** The machine stops: what was not synced is gone. Answers what is. */
  losePower(): number[] {
    const lost = this.#sinceSync().map(({ piece }) => piece);
    for (const piece of lost) {
      if (this.#hashes[piece] === undefined) continue;
      this.#hashes[piece] = undefined;
      this.#keptCount -= 1;
      this.#usedBytes -= this.#file.layout.pieceSizeBytes(piece);
    }
    this.#unsynced = [];
    return lost;
  }

  #keep(piece: number, hash: Uint8Array, sizeBytes: number): void {
    const standing = this.#hashes[piece];
    if (standing !== undefined) {
      // What was something else is put right.
      const isSame = hash.every((byte, at) => byte === standing[at]);
      if (isSame && !this.#doubted.delete(piece)) this.writtenTwice += 1;
      this.#hashes[piece] = hash;
      return;
    }
    const { capacityBytes = Number.POSITIVE_INFINITY } = this.#options;
    if (this.#usedBytes + sizeBytes > capacityBytes) {
      throw Object.assign(new Error('no space left on the disk'), { code: 'ENOSPC' });
    }
    this.#enter(piece, hash);
    this.#unsynced.push({ piece, atMs: this.#clock.now() });
    if ((this.#unsynced[0] as Written).atMs < this.#syncedAtMs) this.#unsynced = this.#sinceSync();
  }

  #enter(piece: number, hash: Uint8Array): void {
    this.#hashes[piece] = hash;
    this.#keptCount += 1;
    this.#usedBytes += this.#file.layout.pieceSizeBytes(piece);
  }

  #sinceSync(): Written[] {
    return this.#unsynced.filter(({ atMs }) => atMs >= this.#syncedAtMs);
  }

  get #syncedAtMs(): number {
    return Math.floor(this.#clock.now() / SYNC_MS) * SYNC_MS;
  }

  #write(bytes: number): Promise<void> {
    const nowMs = this.#clock.now();
    const { bytesPerSecond = Number.POSITIVE_INFINITY } = this.#options;
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + (bytes / bytesPerSecond) * 1000;
    return new Promise((resolve) => this.#clock.setTimer(this.#freeAtMs - nowMs, resolve));
  }
}
