/** While a relay alone has more pieces than this, it shows each to one peer only. */
const LONELY_PIECES = 16;
/** A peer that was shown a piece and has not got it by then: everybody is shown it. */
const PATIENCE_MS = 3000;

/**
 * Makes a relay give different pieces to different peers first, so that its uplink carries nothing
 * twice that peers could give to each other. Pieces that somebody else has, and the last few, are
 * announced to all.
 */
export class Spread {
  /** Pieces that nobody else is known to have. */
  readonly #lonely = new Set<number>();
  /** Those of them that were shown to one peer only: since when. */
  readonly #withheld = new Map<number, number>();
  #turn = 0;

  withholds(piece: number): boolean {
    return this.#withheld.has(piece);
  }

  /** To whom to announce a piece that has just become ours: one of the peers, or all. */
  announce(
    piece: number,
    peers: readonly number[],
    elsewhere: number,
    nowMs: number,
  ): number | 'all' {
    if (elsewhere > 0) return 'all';
    this.#lonely.add(piece);
    if (peers.length < 2 || this.#lonely.size <= LONELY_PIECES) return 'all';
    this.#withheld.set(piece, nowMs);
    this.#turn += 1;
    return peers[this.#turn % peers.length] as number;
  }

  /** Somebody else has it: whether all the others are to be told now. */
  seen(piece: number): boolean {
    this.#lonely.delete(piece);
    return this.#withheld.delete(piece);
  }

  /** What is to be announced to all from now on. */
  due(nowMs: number): number[] {
    const few = this.#lonely.size <= LONELY_PIECES;
    const due = [...this.#withheld].filter(([, sinceMs]) => few || nowMs - sinceMs > PATIENCE_MS);
    for (const [piece] of due) this.#withheld.delete(piece);
    return due.map(([piece]) => piece);
  }
}
