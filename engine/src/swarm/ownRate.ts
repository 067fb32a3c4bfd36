/** What came longer ago hardly counts: a slow link brings a block in so long. */
const HORIZON_MS = 3000;

/**
 * What comes from all peers together, over the last seconds. Where that is little, what they owe takes
 * long, and no peer is to blame: the node's own link may be as slow. PURE.
 */
export class OwnRate {
  /** Both fade alike, so that the first interval counts in full. */
  #bytes = 0;
  #ms = 0;

  tick(bytes: number, elapsedMs: number): void {
    const kept = Math.exp(-Math.max(0, elapsedMs) / HORIZON_MS);
    this.#bytes = this.#bytes * kept + bytes;
    this.#ms = this.#ms * kept + Math.max(0, elapsedMs);
  }

  /** How long so many bytes take; zero: nothing has come yet. */
  msFor(bytes: number): number {
    return this.#bytes === 0 ? 0 : (bytes * this.#ms) / this.#bytes;
  }
}
