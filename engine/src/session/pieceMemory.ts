import type { Loan, PieceBuffers } from '../ports/pieceBuffers.ts';
import { LARGE_REQUEST_BYTES } from '../wire/codec.ts';

interface Kept {
  readonly bytes: Uint8Array;
  readonly reusable: boolean;
  loans: number;
  evicted: boolean;
}

/**
 * An agent is to take at most 200 MB at full speed with 200 peers, of which Node.js, the code and
 * the connections take some 140.
 */
const DEFAULT_BUDGET_BYTES = 48 * 1024 * 1024;
/** Of the budget, for what is being sent; the rest is for pieces that come in or are kept. */
const SENDING_SHARE = 1 / 3;
/** Of that, for pieces that are kept and lent: while they are, nothing comes in in their place. */
const LENT_SHARE = 1 / 2;

/**
 * All memory for bytes of pieces, of all transfers of a process: of pieces that come in, of those
 * that came last, which are what peers ask for most, and of blocks that are read to be sent. One
 * budget: what comes in takes the place of what was kept. Memory is used again: fresh memory costs
 * more than the copy of the bytes into it, and that of what is dropped comes back late, for V8 does
 * not count memory that threads share when it decides whether to collect.
 */
export class PieceMemory implements PieceBuffers {
  readonly #budgetBytes: number;
  /** By owner and piece; used longest ago first. */
  readonly #kept = new Map<string, Kept>();
  /** For pieces, by their capacity. */
  readonly #spare = new Map<number, Uint8Array[]>();
  /** For blocks. They are not pieces': the one would always be dropped to make the other. */
  readonly #spareBlocks: Uint8Array[] = [];
  /** For pieces, wherever they are. */
  #allocatedBytes = 0;
  /** Taken for what comes in, and neither kept nor back. */
  #comingBytes = 0;
  #lentBytes = 0;
  /** Of blocks that are being read or sent. */
  #blockBytes = 0;

  constructor(budgetBytes = DEFAULT_BUDGET_BYTES) {
    this.#budgetBytes = budgetBytes;
  }

  get roomBytes(): number {
    return this.#piecesBytes - this.#comingBytes - this.#lentBytes;
  }

  get sendingRoomBytes(): number {
    return this.#budgetBytes * SENDING_SHARE - this.#lentBytes - this.#blockBytes;
  }

  get #piecesBytes(): number {
    return this.#budgetBytes * (1 - SENDING_SHARE);
  }

  take(sizeBytes: number): Uint8Array {
    const capacityBytes = capacityFor(sizeBytes);
    const { buffer } = this.#reused(capacityBytes) ?? this.#fresh(capacityBytes);
    this.#comingBytes += capacityBytes;
    return new Uint8Array(buffer, 0, sizeBytes);
  }

  takeToSend(sizeBytes: number): Loan {
    const block = this.#spareBlocks.pop() ?? new Uint8Array(LARGE_REQUEST_BYTES);
    this.#blockBytes += capacityOf(block);
    const release = () => {
      this.#blockBytes -= capacityOf(block);
      this.#spareBlocks.push(block);
    };
    return { bytes: block.subarray(0, sizeBytes), release };
  }

  drop(bytes: Uint8Array): void {
    this.#comingBytes -= capacityOf(bytes);
    this.#allocatedBytes -= capacityOf(bytes);
  }

  keep(owner: string, piece: number, bytes: Uint8Array, reusable: boolean): void {
    const key = keyOf(owner, piece);
    const known = this.#kept.get(key);
    if (known !== undefined) this.#evict(key, known);
    this.#comingBytes -= capacityOf(bytes);
    this.#kept.set(key, { bytes, reusable, loans: 0, evicted: false });
    if (this.#allocatedBytes > this.#piecesBytes) this.#evictOldest();
  }

  lend(owner: string, piece: number): Loan | undefined {
    const key = keyOf(owner, piece);
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    if (kept.loans === 0) {
      const mostBytes = this.#budgetBytes * SENDING_SHARE * LENT_SHARE;
      const lentBytes = this.#lentBytes + capacityOf(kept.bytes);
      // A block of a piece that is larger than all of that is read from the disk.
      if (this.sendingRoomBytes <= 0 || lentBytes > mostBytes) return undefined;
      this.#lentBytes = lentBytes;
    }
    kept.loans += 1;
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    return { bytes: kept.bytes, release: () => this.#released(kept) };
  }

  discard(owner: string, piece: number): void {
    const key = keyOf(owner, piece);
    const kept = this.#kept.get(key);
    if (kept !== undefined) this.#evict(key, kept);
  }

  /** What the transfer alone needed, above the budget too, is given back. */
  forget(owner: string): void {
    for (const [key, kept] of this.#kept) if (key.startsWith(`${owner}/`)) this.#evict(key, kept);
    while (this.#allocatedBytes > this.#piecesBytes && this.#dropSpare());
  }

  #fresh(capacityBytes: number): Uint8Array {
    this.#allocatedBytes += capacityBytes;
    // Shared with the thread that hashes and writes it: nothing is copied.
    return new Uint8Array(new SharedArrayBuffer(capacityBytes));
  }

  /** Undefined: what is there is in use, or the budget is not reached. */
  #reused(capacityBytes: number): Uint8Array | undefined {
    let spare = this.#spare.get(capacityBytes)?.pop();
    while (spare === undefined && this.#allocatedBytes + capacityBytes > this.#piecesBytes) {
      if (!this.#dropSpare() && !this.#evictOldest()) return undefined;
      spare = this.#spare.get(capacityBytes)?.pop();
    }
    return spare;
  }

  /** Answers whether there was any. */
  #dropSpare(): boolean {
    for (const [capacityBytes, spares] of this.#spare) {
      if (spares.pop() === undefined) continue;
      this.#allocatedBytes -= capacityBytes;
      return true;
    }
    return false;
  }

  #evictOldest(): boolean {
    for (const [key, kept] of this.#kept) {
      if (kept.loans > 0) continue;
      this.#evict(key, kept);
      return true;
    }
    return false;
  }

  #evict(key: string, kept: Kept): void {
    this.#kept.delete(key);
    kept.evicted = true;
    if (kept.loans === 0) this.#leave(kept);
  }

  #released(kept: Kept): void {
    kept.loans -= 1;
    if (kept.loans > 0) return;
    this.#lentBytes -= capacityOf(kept.bytes);
    if (kept.evicted) this.#leave(kept);
  }

  #leave({ bytes, reusable }: Kept): void {
    if (reusable) this.#recycle(bytes);
    else this.#allocatedBytes -= capacityOf(bytes);
  }

  #recycle(bytes: Uint8Array): void {
    const spares = this.#spare.get(capacityOf(bytes)) ?? [];
    this.#spare.set(capacityOf(bytes), spares);
    spares.push(bytes);
  }
}

function keyOf(owner: string, piece: number): string {
  return `${owner}/${piece}`;
}

/** Few sizes, so that memory of a last, shorter piece is used again as well. */
function capacityFor(sizeBytes: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, sizeBytes)));
}

function capacityOf({ buffer }: Uint8Array): number {
  return buffer.byteLength;
}
