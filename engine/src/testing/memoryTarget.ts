import type { PieceAssembly, PullLayout, PullTarget } from '../session/pullPlan.ts';

/** One file in memory, whose right bytes are known. */
export class MemoryTarget implements PullTarget, PullLayout {
  readonly bytes: Buffer;
  readonly verified = new Set<number>();
  readonly order: number[] = [];
  /** Pieces that were complete with other bytes than the file has. */
  mismatches = 0;
  readonly #expected: Buffer;
  readonly #pieceLengthBytes: number;
  readonly #taken = new Set<number>();

  constructor(expected: Buffer, pieceLengthBytes: number) {
    this.#expected = expected;
    this.#pieceLengthBytes = pieceLengthBytes;
    this.bytes = Buffer.alloc(expected.length);
  }

  pieceSizeBytes(piece: number): number {
    return Math.min(this.#pieceLengthBytes, this.bytes.length - piece * this.#pieceLengthBytes);
  }

  locate(piece: number) {
    return { fileIndex: 0, offset: piece * this.#pieceLengthBytes };
  }

  holds(piece: number): boolean {
    return this.verified.has(piece);
  }

  assemble(piece: number): PieceAssembly | undefined {
    if (this.holds(piece) || this.#taken.has(piece)) return undefined;
    this.#taken.add(piece);
    const start = piece * this.#pieceLengthBytes;
    const sizeBytes = this.pieceSizeBytes(piece);
    return {
      piece,
      sizeBytes,
      missing: () => [{ offset: 0, length: sizeBytes }],
      write: (offset, chunk) => this.bytes.set(chunk, start + offset),
      finish: async () => {
        this.#taken.delete(piece);
        const range = [start, start + sizeBytes] as const;
        if (!this.bytes.subarray(...range).equals(this.#expected.subarray(...range))) {
          this.mismatches += 1;
          return 'mismatch';
        }
        this.verified.add(piece);
        this.order.push(piece);
        return 'verified';
      },
      abort: () => this.#taken.delete(piece),
    };
  }
}
