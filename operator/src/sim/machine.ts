/*
 * sim/ runs the real control servers and the real holders of leases against a simulated database,
 * network and origin on a virtual clock, with faults that one seed decides. Nothing of the product
 * imports it; it opens no socket, file or timer.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';

/** One run of one process, with the clock of its machine. */
export class Machine implements Clock {
  readonly name: string;
  readonly #world: VirtualClock;
  /** Of its clock, over true time. */
  readonly #speed: number;
  readonly #startMs: number;
  #state: 'running' | 'frozen' | 'dead' = 'running';
  /** What has come meanwhile: timers, and all else. */
  #due: (() => void)[] = [];
  #heard: (() => void)[] = [];
  /** True milliseconds in which its timers stood still. */
  #sleptMs = 0;
  #onDeath: (() => void)[] = [];

  constructor(name: string, world: VirtualClock, options: { drift: number; startMs: number }) {
    this.name = name;
    this.#world = world;
    this.#speed = 1 + options.drift;
    this.#startMs = options.startMs;
  }

  get isAlive(): boolean {
    return this.#state !== 'dead';
  }

  get isRunning(): boolean {
    return this.#state === 'running';
  }

  /** Counts while the machine sleeps, too. */
  now(): number {
    return this.#startMs + this.#world.now() * this.#speed;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const sleptMs = this.#sleptMs;
    let isCancelled = false;
    const fire = () => {
      // What the machine slept of the time is still to be waited.
      const left = this.#sleptMs - sleptMs;
      if (isCancelled || !this.isAlive) return;
      if (left > waitedMs) {
        const more = left - waitedMs;
        waitedMs = left;
        this.#world.setTimer(more, fire);
      } else if (this.isRunning) callback();
      else this.#due.push(fire);
    };
    let waitedMs = 0;
    const timer = this.#world.setTimer(Math.max(0, delayMs) / this.#speed, fire);
    return {
      cancel: () => {
        isCancelled = true;
        timer.cancel();
      },
    };
  }

  /** Something from outside comes in: now, or when it goes on, or never. */
  enter(callback: () => void): void {
    if (this.#state === 'running') callback();
    else if (this.#state === 'frozen') this.#heard.push(callback);
  }

  /** Stops it, as SIGSTOP does; its kernel and its clock go on. */
  freeze(): void {
    if (this.#state === 'running') this.#state = 'frozen';
  }

  /** `sleptMs`: so long the machine slept, its timers too. */
  thaw({ timersFirst, sleptMs = 0 }: { timersFirst: boolean; sleptMs?: number }): void {
    if (this.#state !== 'frozen') return;
    this.#state = 'running';
    this.#sleptMs += sleptMs;
    const due = this.#due;
    const heard = this.#heard.map((callback) => () => this.enter(callback));
    this.#due = [];
    this.#heard = [];
    // One after the other, and what each has promised in between.
    for (const next of timersFirst ? [...due, ...heard] : [...heard, ...due]) {
      this.#world.setTimer(0, next);
    }
  }

  kill(): void {
    if (!this.isAlive) return;
    this.#state = 'dead';
    this.#due = [];
    this.#heard = [];
    for (const each of this.#onDeath) each();
  }

  onDeath(callback: () => void): void {
    this.#onDeath.push(callback);
  }
}
