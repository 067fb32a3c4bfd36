import type { Clock } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';

/**
 * The memory of one transfer's pieces that come in. What is taken ends with keep() or drop(), and
 * the room that all transfers share is counted by that: nothing else forgets a buffer.
 */
export class IncomingBuffers {
  /** Names the transfer's pieces in the shared memory. */
  readonly #owner: string;
  readonly #memory: PieceBuffers;
  readonly #clock: Clock;
  readonly #pieceSizeBytes: (piece: number) => number;
  readonly #buffers = new Map<number, { bytes: Uint8Array; takenAtMs: number }>();

  constructor(
    owner: string,
    pieceSizeBytes: (piece: number) => number,
    { memory, clock }: { readonly memory: PieceBuffers; readonly clock: Clock },
  ) {
    this.#owner = owner;
    this.#memory = memory;
    this.#clock = clock;
    this.#pieceSizeBytes = pieceSizeBytes;
  }

  get count(): number {
    return this.#buffers.size;
  }

  pieces(): number[] {
    return [...this.#buffers.keys()];
  }

  /** Taken, unless it was before. */
  of(piece: number): Uint8Array {
    const known = this.#buffers.get(piece);
    if (known !== undefined) return known.bytes;
    const bytes = this.#memory.take(this.#pieceSizeBytes(piece));
    this.#buffers.set(piece, { bytes, takenAtMs: this.#clock.now() });
    return bytes;
  }

  /** For how long it has been coming in; 0: it is not. */
  ageMs(piece: number): number {
    const nowMs = this.#clock.now();
    return nowMs - (this.#buffers.get(piece)?.takenAtMs ?? nowMs);
  }

  /** It is verified. `reusable`: nobody else reads it or writes into it. */
  keep(piece: number, reusable: boolean): void {
    const buffer = this.#buffers.get(piece);
    if (buffer === undefined) return;
    this.#buffers.delete(piece);
    this.#memory.keep(this.#owner, piece, buffer.bytes, reusable);
  }

  /** It may be read or written still: by who follows it, or sends a block of it. */
  drop(piece: number): void {
    const buffer = this.#buffers.get(piece);
    if (buffer === undefined) return;
    this.#buffers.delete(piece);
    this.#memory.drop(buffer.bytes);
  }
}
