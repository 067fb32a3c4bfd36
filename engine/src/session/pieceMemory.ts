/** Bytes of a piece that may be read until release() is called, once. */
export interface Loan {
  readonly bytes: Uint8Array;
  release(): void;
}

interface Kept {
  readonly bytes: Uint8Array;
  readonly reusable: boolean;
  loans: number;
  evicted: boolean;
}

const DEFAULT_BUDGET_BYTES = 40 * 1024 * 1024;
const MAX_SPARE_BYTES = 8 * 1024 * 1024;

/**
 * Memory of pieces, for all transfers of a process: of those that come in, and of those that came
 * last, which are what peers ask for most. Memory is used again, for fresh memory costs more than
 * the copy of the bytes into it.
 */
export class PieceMemory {
  readonly #budgetBytes: number;
  /** By owner and piece; used longest ago first. */
  readonly #kept = new Map<string, Kept>();
  readonly #spare = new Map<number, Uint8Array[]>();
  #keptBytes = 0;
  #spareBytes = 0;

  /** `budgetBytes`: of what is kept; pieces that come in are beside it. */
  constructor(budgetBytes = DEFAULT_BUDGET_BYTES) {
    this.#budgetBytes = budgetBytes;
  }

  /** For a piece that comes in; what is in it means nothing. */
  take(sizeBytes: number): Uint8Array {
    const spare = this.#spare.get(sizeBytes)?.pop();
    if (spare === undefined) {
      // Shared with the thread that hashes and writes it: nothing is copied.
      return new Uint8Array(new SharedArrayBuffer(sizeBytes));
    }
    this.#spareBytes -= sizeBytes;
    return spare;
  }

  /** A verified piece. `reusable`: nobody else reads these bytes or writes into them. */
  keep(owner: string, piece: number, bytes: Uint8Array, reusable: boolean): void {
    const key = keyOf(owner, piece);
    if (this.#kept.has(key)) return;
    this.#kept.set(key, { bytes, reusable, loans: 0, evicted: false });
    this.#keptBytes += bytes.byteLength;
    for (const entry of this.#kept) {
      if (this.#keptBytes <= this.#budgetBytes) break;
      this.#evict(...entry);
    }
  }

  /** Undefined: it is on disk only. */
  lend(owner: string, piece: number): Loan | undefined {
    const key = keyOf(owner, piece);
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    kept.loans += 1;
    return {
      bytes: kept.bytes,
      release: () => {
        kept.loans -= 1;
        if (kept.evicted) this.#recycle(kept);
      },
    };
  }

  forget(owner: string): void {
    for (const [key, kept] of this.#kept) if (key.startsWith(`${owner}/`)) this.#evict(key, kept);
  }

  #evict(key: string, kept: Kept): void {
    this.#kept.delete(key);
    this.#keptBytes -= kept.bytes.byteLength;
    kept.evicted = true;
    this.#recycle(kept);
  }

  #recycle({ bytes, reusable, loans }: Kept): void {
    if (!reusable || loans > 0) return;
    if (this.#spareBytes + bytes.byteLength > MAX_SPARE_BYTES) return;
    const spares = this.#spare.get(bytes.byteLength) ?? [];
    this.#spare.set(bytes.byteLength, spares);
    spares.push(bytes);
    this.#spareBytes += bytes.byteLength;
  }
}

function keyOf(owner: string, piece: number): string {
  return `${owner}/${piece}`;
}
