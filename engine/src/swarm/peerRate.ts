/** One block. Sixteen peers that owe more keep a link of 100 Mbit/s busy for longer. */
const LEAST_WINDOW_BYTES = 131_072;
const MAX_WINDOW_BYTES = 2_097_152;
/**
 * On top of the least. What peers have asked for waits in the queue of the uplink that they share,
 * and each gets of it what its share of that queue is: in proportion to their rates, any split would
 * keep itself up, and the node that got ahead would stay ahead. A part that is the same for all
 * makes their rates equal.
 */
const WINDOW_SECONDS = 0.125;
const MIN_DEADLINE_MS = 2000;
const MAX_DEADLINE_MS = 20_000;
/** Where it is the node's own link that is slow: a peer that gives nothing in so long is left. */
const MAX_OWN_DEADLINE_MS = 60_000;
/** Three times what rates say before a block counts as late. */
const PATIENCE = 3;
/** Weight of the last interval: half of a change is seen after two. */
const WEIGHT = 0.3;

export interface Deadlines {
  /** By its peer's rate: HTTP may bring the piece from then on. */
  readonly helpMs: number;
  /** By what comes from all of them, too: another peer may be asked. */
  readonly lateMs: number;
}

/** A peer's measured rate, and what follows from it for how much to ask and how long to wait. */
export class PeerRate {
  readonly #windowSeconds: number;
  #bytesPerSecond: number | undefined;
  #intervalBytes = 0;

  constructor(windowSeconds = WINDOW_SECONDS) {
    this.#windowSeconds = windowSeconds;
  }

  received(bytes: number): void {
    this.#intervalBytes += bytes;
  }

  /** Ends an interval. One in which nothing was asked for says nothing. */
  tick(elapsedMs: number, wasAsked: boolean): void {
    if (elapsedMs <= 0 || (!wasAsked && this.#intervalBytes === 0)) return;
    const rate = (this.#intervalBytes * 1000) / elapsedMs;
    this.#intervalBytes = 0;
    this.#bytesPerSecond =
      this.#bytesPerSecond === undefined
        ? rate
        : this.#bytesPerSecond + WEIGHT * (rate - this.#bytesPerSecond);
  }

  /** The most to have outstanding. */
  get windowBytes(): number {
    const more = (this.#bytesPerSecond ?? 0) * this.#windowSeconds;
    return Math.min(MAX_WINDOW_BYTES, LEAST_WINDOW_BYTES + more);
  }

  /**
   * How long a block may take that is asked for behind `outstandingBytes`, itself included; `allMs`:
   * what all that peers owe takes at the rate at which it comes.
   */
  deadlines(outstandingBytes: number, allMs = 0): Deadlines {
    const rate = this.#bytesPerSecond ?? 0;
    const expectedMs = rate > 0 ? (outstandingBytes / rate) * 1000 : 0;
    const helpMs = Math.min(MAX_DEADLINE_MS, Math.max(MIN_DEADLINE_MS, PATIENCE * expectedMs));
    return { helpMs, lateMs: Math.max(helpMs, Math.min(MAX_OWN_DEADLINE_MS, PATIENCE * allMs)) };
  }
}
