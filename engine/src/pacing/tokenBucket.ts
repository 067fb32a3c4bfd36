/*
 * pacing/ decides how many bytes may move when. Pure: time comes in as a number of milliseconds
 * on the caller's monotonic clock, and waiting is the caller's business.
 */

export interface TokenBucketOptions {
  /** Undefined: no limit. Zero: nothing ever. */
  readonly rateBytesPerSecond: number | undefined;
  /** The most that may be saved up while nothing moves. */
  readonly capacityBytes: number;
}

/**
 * A token is the right to move one byte. Spending may go into debt, so that a message larger than
 * what is saved goes out whole and is paid for afterwards: in any window at most
 * rate x window + capacity + one message are spent.
 */
export class TokenBucket {
  #options: TokenBucketOptions;
  #tokens: number;
  #filledAtMs: number;

  /** Starts empty. */
  constructor(options: TokenBucketOptions, nowMs: number) {
    this.#options = options;
    this.#tokens = 0;
    this.#filledAtMs = nowMs;
  }

  get rateBytesPerSecond(): number | undefined {
    return this.#options.rateBytesPerSecond;
  }

  /** Tokens that are there now; negative in debt, Infinity without a limit. */
  available(nowMs: number): number {
    this.#fill(nowMs);
    return this.#options.rateBytesPerSecond === undefined ? Number.POSITIVE_INFINITY : this.#tokens;
  }

  /** Takes the tokens when the bucket is not in debt. */
  spend(bytes: number, nowMs: number): boolean {
    if (this.available(nowMs) <= 0) return false;
    this.#tokens -= bytes;
    return true;
  }

  /** For bytes that moved without asking: what comes next waits for them. */
  charge(bytes: number, nowMs: number): void {
    this.#fill(nowMs);
    if (this.#options.rateBytesPerSecond !== undefined) this.#tokens -= bytes;
  }

  /** Returns what was spent for bytes that then did not move. */
  refund(bytes: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#tokens = Math.min(this.#options.capacityBytes, this.#tokens + bytes);
  }

  /** Milliseconds until `bytes` (at most the capacity counts) are there; Infinity when never. */
  waitMs(bytes: number, nowMs: number): number {
    const available = this.available(nowMs);
    const { rateBytesPerSecond: rate, capacityBytes } = this.#options;
    const missing = Math.min(bytes, capacityBytes) - available;
    if (missing <= 0 || rate === undefined) return 0;
    return (missing / rate) * 1000;
  }

  /** Another limit from now on. What is saved stays, up to the new capacity; debts stay too. */
  setLimit(options: TokenBucketOptions, nowMs: number): void {
    this.#fill(nowMs);
    const wasUnlimited = this.#options.rateBytesPerSecond === undefined;
    this.#options = options;
    this.#tokens = wasUnlimited ? 0 : Math.min(this.#tokens, options.capacityBytes);
  }

  #fill(nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.#filledAtMs);
    this.#filledAtMs = Math.max(this.#filledAtMs, nowMs);
    const { rateBytesPerSecond: rate, capacityBytes } = this.#options;
    if (rate === undefined) return;
    this.#tokens = Math.min(capacityBytes, this.#tokens + (rate * elapsedMs) / 1000);
  }
}
