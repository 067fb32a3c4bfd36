/*
 * sim/ runs real transfers on a virtual clock, a simulated network and disk, all of it decided by
 * one seed. Nothing of the product imports it; it opens no socket and no file.
 */
import type { Clock, Timer } from '../ports/clock.ts';

/** Something that happens at its time. */
export interface TimedEvent {
  fire(): void;
}

/** Chains of promises that wait for nothing outside are no longer than this. */
const SETTLE_TURNS = 24;
/** Promises that an event resolved without saying so go on after so much time at the latest. */
const MAX_UNSETTLED_MS = 1;
const FIRST_CAPACITY = 1024;

/**
 * Time that passes only from event to event. After a timer, and whenever settleSoon() was called,
 * promises settle before the next event; after others, which are most, within a millisecond.
 */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #count = 0;
  #settledAtMs = 0;
  #mustSettle = true;
  /** A binary heap, the next one first: when, its number, and what. */
  #times = new Float64Array(FIRST_CAPACITY);
  #numbers = new Float64Array(FIRST_CAPACITY);
  readonly #events: TimedEvent[] = [];

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = new CallbackTimer(this, callback);
    this.at(this.#nowMs + Math.max(0, delayMs), timer);
    return timer;
  }

  /** Of two events that are due at the same time the earlier one is first. */
  at(atMs: number, event: TimedEvent): void {
    this.#count += 1;
    const at = this.#events.length;
    this.#events.push(event);
    if (at >= this.#times.length) this.#grow();
    this.#rise(at, atMs, this.#count, event);
  }

  /** A promise was resolved: who waits for it goes on before the next event. */
  settleSoon(): void {
    this.#mustSettle = true;
  }

  /** Until `isOver`, or nothing is left to come, or so much time has passed; answers isOver(). */
  async run(isOver: () => boolean, maxMs: number): Promise<boolean> {
    const untilMs = this.#nowMs + maxMs;
    await settle();
    while (!isOver()) {
      const nextMs = this.#nextMs();
      if (this.#mustSettle || nextMs - this.#settledAtMs > MAX_UNSETTLED_MS) {
        this.#mustSettle = false;
        this.#settledAtMs = this.#nowMs;
        await settle();
        // Whoever went on may have set an earlier timer.
        if (this.#mustSettle || this.#nextMs() !== nextMs) continue;
        this.#settledAtMs = Math.min(nextMs, untilMs);
      }
      if (nextMs > untilMs) {
        this.#nowMs = untilMs;
        return isOver();
      }
      this.#nowMs = nextMs;
      this.#pop().fire();
    }
    return true;
  }

  #nextMs(): number {
    return this.#events.length === 0 ? Number.POSITIVE_INFINITY : (this.#times[0] as number);
  }

  #grow(): void {
    const times = new Float64Array(this.#times.length * 2);
    const numbers = new Float64Array(this.#times.length * 2);
    times.set(this.#times);
    numbers.set(this.#numbers);
    this.#times = times;
    this.#numbers = numbers;
  }

  /** From a free place upwards. */
  #rise(from: number, atMs: number, number: number, event: TimedEvent): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#isBefore(parent, atMs, number)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, atMs, number, event);
  }

  #pop(): TimedEvent {
    const first = this.#events[0] as TimedEvent;
    const last = this.#events.pop() as TimedEvent;
    const count = this.#events.length;
    if (count === 0) return first;
    const atMs = this.#times[count] as number;
    const number = this.#numbers[count] as number;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= count) break;
      const right = child + 1;
      if (
        right < count &&
        this.#isBefore(right, this.#times[child] as number, this.#numbers[child] as number)
      ) {
        child = right;
      }
      if (!this.#isBefore(child, atMs, number)) break;
      this.#move(child, at);
      at = child;
    }
    this.#put(at, atMs, number, last);
    return first;
  }

  #isBefore(at: number, atMs: number, number: number): boolean {
    const time = this.#times[at] as number;
    return time < atMs || (time === atMs && (this.#numbers[at] as number) < number);
  }

  #move(from: number, to: number): void {
    this.#put(
      to,
      this.#times[from] as number,
      this.#numbers[from] as number,
      this.#events[from] as TimedEvent,
    );
  }

  #put(at: number, atMs: number, number: number, event: TimedEvent): void {
    this.#times[at] = atMs;
    this.#numbers[at] = number;
    this.#events[at] = event;
  }
}

/** Forgets what it was for when it is cancelled: the queue keeps it until its time. */
class CallbackTimer implements TimedEvent, Timer {
  readonly #clock: VirtualClock;
  #callback: (() => void) | undefined;

  constructor(clock: VirtualClock, callback: () => void) {
    this.#clock = clock;
    this.#callback = callback;
  }

  fire(): void {
    const callback = this.#callback;
    if (callback === undefined) return;
    this.#callback = undefined;
    callback();
    this.#clock.settleSoon();
  }

  cancel(): void {
    this.#callback = undefined;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < SETTLE_TURNS; turn += 1) await null;
}
