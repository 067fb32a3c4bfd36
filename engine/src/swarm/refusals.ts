import { Bitfield } from '../pieces/bitfield.ts';

/** A piece that it would not give: it is not asked for it again before so long. */
const REFUSED_MS = 10_000;
/** And for nothing at all, the longer the more often it refused and gave nothing in between. */
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 10_000;

/**
 * What one peer has and would not give. To ask it again at once would keep a block from all others,
 * for a peer that refuses is always the first that is free.
 */
export class Refusals {
  /** Pieces, and until when each is refused. */
  readonly #untilMs = new Map<number, number>();
  /** What it has without those; undefined: there are none. */
  #askable: Bitfield | undefined;
  #inARow = 0;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;

  refused(piece: number, has: Bitfield, nowMs: number): void {
    this.#askable ??= Bitfield.parse(has.bytes, has.size) as Bitfield;
    this.#askable.delete(piece);
    this.#untilMs.set(piece, nowMs + REFUSED_MS);
    // What it was asked for at once it refuses at once.
    if (this.isPaused(nowMs)) return;
    this.#pausedUntilMs = nowMs + Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#inARow);
    this.#inARow += 1;
  }

  /** It gave a block. */
  gave(): void {
    this.#inARow = 0;
    this.#pausedUntilMs = Number.NEGATIVE_INFINITY;
  }

  /** It says that it has the piece. */
  told(piece: number): void {
    this.#askable?.add(piece);
    this.#untilMs.delete(piece);
    if (this.#untilMs.size === 0) this.#askable = undefined;
  }

  /** It has the piece no more, as far as we are concerned. */
  lacks(piece: number): void {
    this.#askable?.delete(piece);
    this.#untilMs.delete(piece);
    if (this.#untilMs.size === 0) this.#askable = undefined;
  }

  isPaused(nowMs: number): boolean {
    return nowMs < this.#pausedUntilMs;
  }

  /** Answers whether it may be asked again for something that it refused long ago. */
  expire(nowMs: number): boolean {
    let isAny = false;
    for (const [piece, untilMs] of this.#untilMs) {
      if (untilMs > nowMs) continue;
      this.told(piece);
      isAny = true;
    }
    return isAny;
  }

  /** Of what it has, what it may be asked for. */
  askable(has: Bitfield): Bitfield {
    return this.#askable ?? has;
  }
}
