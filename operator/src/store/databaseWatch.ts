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
  #awaySinceMs: number | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(dependencies: DatabaseWatchDependencies) {
    this.#deps = dependencies;
    this.#awaySinceMs = dependencies.clock.now();
  }

  /** It has just answered, for the first time. */
  start(): void {
    this.#awaySinceMs = undefined;
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  get isAway(): boolean {
    return this.#awaySinceMs !== undefined;
  }

  /** On the clock: the first time that it did not answer. Undefined: it answers. */
  get awaySinceMs(): number | undefined {
    return this.#awaySinceMs;
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
      this.#awaySinceMs = undefined;
    } catch {
      this.#awaySinceMs ??= this.#deps.clock.now();
    }
  }
}
