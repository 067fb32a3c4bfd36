/*
 * sim/ runs real transfers on a virtual clock, a simulated network and disk, all of it decided by
 * one seed. Nothing of the product imports it; it opens no socket and no file.
 */
import type { Clock, Timer } from '../ports/clock.ts';

interface Due {
  readonly atMs: number;
  /** Of two that are due at the same time the earlier one is first. */
  readonly number: number;
  readonly callback: () => void;
  cancelled: boolean;
}

/** Chains of promises that wait for nothing outside are no longer than this. */
const SETTLE_TURNS = 24;

/** Time that passes only from event to event. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #count = 0;
  /** A binary heap, the next one first. */
  readonly #heap: Due[] = [];

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    this.#count += 1;
    const atMs = this.#nowMs + Math.max(0, delayMs);
    const due: Due = { atMs, number: this.#count, callback, cancelled: false };
    this.#push(due);
    return {
      cancel: () => {
        due.cancelled = true;
      },
    };
  }

  /** Until `isOver`, or nothing is left to come, or so much time has passed; answers isOver(). */
  async run(isOver: () => boolean, maxMs: number): Promise<boolean> {
    const untilMs = this.#nowMs + maxMs;
    await settle();
    while (!isOver()) {
      const due = this.#pop();
      if (due === undefined || due.atMs > untilMs) {
        if (due !== undefined) this.#push(due);
        this.#nowMs = untilMs;
        return isOver();
      }
      if (due.cancelled) continue;
      this.#nowMs = due.atMs;
      due.callback();
      await settle();
    }
    return true;
  }

  #push(due: Due): void {
    const heap = this.#heap;
    let at = heap.push(due) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(heap[parent] as Due, due)) break;
      heap[at] = heap[parent] as Due;
      at = parent;
    }
    heap[at] = due;
  }

  #pop(): Due | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= heap.length) break;
      const right = left + 1;
      const isRight = right < heap.length && isBefore(heap[right] as Due, heap[left] as Due);
      const child = isRight ? right : left;
      if (isBefore(last, heap[child] as Due)) break;
      heap[at] = heap[child] as Due;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(one: Due, other: Due): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.number < other.number);
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < SETTLE_TURNS; turn += 1) await null;
}
