/** A Clock that moves only when a test says so, and a Random that always gives the same. */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';

export class FakeClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; callback: () => void }[] = [];

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  /** Runs what falls due, in order, and lets promises settle in between. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const due = this.#timers
        .filter((timer) => timer.atMs <= endMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#nowMs = due.atMs;
      due.callback();
      await settle();
    }
    this.#nowMs = endMs;
  }
}

/** Long enough for chains of awaits that wait for nothing outside. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

let drawn = 0;

/** Bytes differ from those of before, as ids have to. */
export const steadyRandom: Random = {
  next: () => 0.5,
  bytes: (count) => {
    drawn += 1;
    return Buffer.from(String(drawn).padStart(count, '0').slice(-count));
  },
};
