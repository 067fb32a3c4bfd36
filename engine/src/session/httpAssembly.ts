import type { PieceAssembly } from './pullPlan.ts';

export interface AssemblyOwner {
  wrote(bytes: number): void;
  finish(assembly: HttpAssembly): Promise<'verified' | 'mismatch'>;
  abort(assembly: HttpAssembly): void;
}

interface Gap {
  offset: number;
  length: number;
}

/** A piece whose bytes come by HTTP, in any order; those who follow it get them in order. */
export class HttpAssembly implements PieceAssembly {
  readonly piece: number;
  readonly sizeBytes: number;
  readonly source: 'origin' | 'relayHttp';
  readonly bytes: Uint8Array;
  /** Every byte of it comes from this source, none from peers. */
  readonly isWhole: boolean;
  readonly #owner: AssemblyOwner;
  #gaps: Gap[];
  readonly #wake = new Set<() => void>();
  #wasFollowed = false;
  #state: 'open' | 'finishing' | 'verified' | 'givenUp' = 'open';

  constructor(
    piece: number,
    source: 'origin' | 'relayHttp',
    bytes: Uint8Array,
    gaps: readonly Gap[],
    owner: AssemblyOwner,
  ) {
    this.piece = piece;
    this.sizeBytes = bytes.byteLength;
    this.source = source;
    this.bytes = bytes;
    this.#gaps = gaps.map((gap) => ({ ...gap }));
    this.isWhole = gaps.reduce((sum, { length }) => sum + length, 0) === this.sizeBytes;
    this.#owner = owner;
  }

  missing(): readonly { readonly offset: number; readonly length: number }[] {
    return this.#gaps;
  }

  write(offset: number, chunk: Uint8Array): void {
    if (this.#state !== 'open') return;
    this.bytes.set(chunk, offset);
    const end = offset + chunk.byteLength;
    this.#gaps = this.#gaps.flatMap((gap) => {
      const gapEnd = gap.offset + gap.length;
      const before = { offset: gap.offset, length: Math.min(gapEnd, offset) - gap.offset };
      const from = Math.max(gap.offset, end);
      const after = { offset: from, length: gapEnd - from };
      if (gapEnd <= offset || gap.offset >= end) return [gap];
      return [before, after].filter(({ length }) => length > 0);
    });
    this.#owner.wrote(chunk.byteLength);
    this.#wakeAll();
  }

  async finish(): Promise<'verified' | 'mismatch'> {
    if (this.#state !== 'open' || this.#gaps.length > 0) {
      throw new Error(`piece ${this.piece} cannot be finished: ${this.#state}`);
    }
    this.#state = 'finishing';
    try {
      const outcome = await this.#owner.finish(this);
      this.#state = outcome === 'verified' ? 'verified' : 'givenUp';
      return outcome;
    } catch (error) {
      this.#state = 'givenUp';
      throw error;
    } finally {
      this.#wakeAll();
    }
  }

  abort(): void {
    if (this.#state !== 'open') return;
    this.#state = 'givenUp';
    this.#owner.abort(this);
    this.#wakeAll();
  }

  /** Somebody may be reading its bytes for longer than it comes in. */
  get wasFollowed(): boolean {
    return this.#wasFollowed;
  }

  /** Bytes from `offset` to the end as they come; throws when the piece is given up. */
  follow(offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    this.#wasFollowed = true;
    return this.#follow(offset, signal);
  }

  async *#follow(offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let at = offset;
    while (at < this.sizeBytes) {
      signal.throwIfAborted();
      const end = this.#contiguousEnd(at);
      if (end > at) {
        yield this.bytes.subarray(at, end);
        at = end;
      } else if (this.#state === 'givenUp') {
        throw new Error(`piece ${this.piece} was given up`);
      } else {
        await this.#next(signal);
      }
    }
  }

  #contiguousEnd(at: number): number {
    const gap = this.#gaps.find(({ offset, length }) => offset + length > at);
    return gap === undefined ? this.sizeBytes : Math.max(at, gap.offset);
  }

  #next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        this.#wake.delete(wake);
        resolve();
      };
      this.#wake.add(wake);
      signal.addEventListener('abort', wake);
    });
  }

  #wakeAll(): void {
    for (const wake of [...this.#wake]) wake();
  }
}
