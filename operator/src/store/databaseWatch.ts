/** Whether the database answers: asked every few seconds, so that people hear of it in time. */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';

export interface DatabaseWatchDependencies {
  readonly clock: Clock;
  /** Rejects when there is no answer in time. */
  ping(): Promise<void>;
}

const EVERY_MS = 5_000;

export class DatabaseWatch {
  readonly #deps: DatabaseWatchDependencies;
  #isAway = false;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(dependencies: DatabaseWatchDependencies) {
    this.#deps = dependencies;
  }

  /** It has just answered. */
  start(): void {
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  get isAway(): boolean {
    return this.#isAway;
  }

  #later(): void {
    if (this.#stopped) return;
    this.#timer = this.#deps.clock.setTimer(EVERY_MS, () => {
      this.#ask().finally(() => this.#later());
    });
  }

  async #ask(): Promise<void> {
    try {
      await this.#deps.ping();
      this.#isAway = false;
    } catch {
      this.#isAway = true;
    }
  }
}
