import type { PieceAssembly, PullTarget } from '../session/pullPlan.ts';

/** Holds what was brought, without its bytes. */
export class DroppingTarget implements PullTarget {
  readonly #pieceSizeBytes: (piece: number) => number;
  readonly #held = new Set<number>();

  constructor(pieceSizeBytes: (piece: number) => number) {
    this.#pieceSizeBytes = pieceSizeBytes;
  }

  holds(piece: number): boolean {
    return this.#held.has(piece);
  }

  assemble(piece: number): PieceAssembly | undefined {
    if (this.holds(piece)) return undefined;
    const sizeBytes = this.#pieceSizeBytes(piece);
    return {
      piece,
      sizeBytes,
      missing: () => [{ offset: 0, length: sizeBytes }],
      write: () => {},
      finish: async () => {
        this.#held.add(piece);
        return 'verified';
      },
      abort: () => {},
    };
  }
}
