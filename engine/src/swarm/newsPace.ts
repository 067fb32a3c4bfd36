/** The first news is told at once, those of the next moment together; so it is at the end. */
const SHORT_INTERVAL_MS = 50;
const BEGINNING_MS = 1000;
/** Nothing hides how long these wait: the last node waits for them. */
const LAST_PIECES = 64;

/**
 * How often something is told to everybody: seldom while all are busy, for each message costs its
 * sender and its receiver more than what it says, and often while somebody waits for it.
 */
export class NewsPace {
  readonly #longIntervalMs: number;
  #beganAtMs: number | undefined;
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(longIntervalMs: number) {
    this.#longIntervalMs = longIntervalMs;
  }

  /** Until the next one; `leftPieces`: of which there is still to be told. */
  waitMs(leftPieces: number, nowMs: number): number {
    const isBeginning = nowMs - (this.#beganAtMs ?? nowMs) < BEGINNING_MS;
    const isShort = isBeginning || leftPieces <= LAST_PIECES;
    return this.#toldAtMs + (isShort ? SHORT_INTERVAL_MS : this.#longIntervalMs) - nowMs;
  }

  told(nowMs: number): void {
    this.#beganAtMs ??= nowMs;
    this.#toldAtMs = nowMs;
  }
}
