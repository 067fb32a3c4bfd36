const WINDOW_MS = 1000;

/** How the network takes what is written to one peer, as far as its queue tells when it is looked at. */
export class SendProgress {
  #writtenBytes = 0;
  #takenBytes = 0;
  #lastTakenAtMs: number;
  /** Taken in this window and in the one before it. */
  #windowBytes = 0;
  #beforeBytes = 0;
  #windowSinceMs: number;

  constructor(nowMs: number) {
    this.#lastTakenAtMs = nowMs;
    this.#windowSinceMs = nowMs;
  }

  /** So many bytes are about to be written behind what is queued. */
  writes(bytes: number, queuedBytes: number, nowMs: number): void {
    this.#look(queuedBytes, nowMs);
    if (queuedBytes === 0) this.#lastTakenAtMs = nowMs;
    this.#writtenBytes += bytes;
  }

  /** When some of it was taken, or began to wait. */
  lastTakenAtMs(queuedBytes: number, nowMs: number): number {
    this.#look(queuedBytes, nowMs);
    return this.#lastTakenAtMs;
  }

  /** In the last second or two. */
  takenLatelyBytes(queuedBytes: number, nowMs: number): number {
    this.#look(queuedBytes, nowMs);
    return this.#windowBytes + this.#beforeBytes;
  }

  #look(queuedBytes: number, nowMs: number): void {
    const elapsedMs = nowMs - this.#windowSinceMs;
    if (elapsedMs >= WINDOW_MS) {
      this.#beforeBytes = elapsedMs < 2 * WINDOW_MS ? this.#windowBytes : 0;
      this.#windowBytes = 0;
      this.#windowSinceMs = nowMs;
    }
    const takenBytes = this.#writtenBytes - queuedBytes;
    if (takenBytes <= this.#takenBytes) return;
    this.#windowBytes += takenBytes - this.#takenBytes;
    this.#takenBytes = takenBytes;
    this.#lastTakenAtMs = nowMs;
  }
}
