const SLOTS = 10;
const SLOT_MS = 100;

/** Bytes of the last second, in tenths. */
export class RateMeter {
  readonly #slots = new Float64Array(SLOTS);
  #slot = 0;

  add(bytes: number, nowMs: number): void {
    this.#forward(nowMs);
    const at = this.#slot % SLOTS;
    this.#slots[at] = (this.#slots[at] ?? 0) + bytes;
  }

  bytesPerSecond(nowMs: number): number {
    this.#forward(nowMs);
    return this.#slots.reduce((sum, bytes) => sum + bytes, 0);
  }

  #forward(nowMs: number): void {
    const slot = Math.floor(nowMs / SLOT_MS);
    const steps = Math.min(SLOTS, slot - this.#slot);
    for (let step = 0; step < steps; step += 1) this.#slots[(slot - step) % SLOTS] = 0;
    this.#slot = Math.max(this.#slot, slot);
  }
}
