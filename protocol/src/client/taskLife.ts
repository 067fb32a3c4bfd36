import { setTimeout as sleep } from 'node:timers/promises';

export interface TaskLifeDependencies {
  /** Works until aborted; whatever it opened is closed when it settles. Rejects with what went wrong. */
  readonly attempt: (signal: AbortSignal) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
  /** Whether trying again can help, once the cause has been removed from outside. */
  readonly mayRetry: (error: unknown) => boolean;
}

/** A full disk does not get empty in a second, and every attempt costs the node something. */
const FIRST_RETRY_MS = 10_000;
const LONGEST_RETRY_MS = 300_000;

/** Keeps one task going: tries again after failures, each time after a longer pause. */
export class TaskLife {
  readonly #dependencies: TaskLifeDependencies;
  readonly #abort = new AbortController();
  #renewal = new AbortController();
  #done: Promise<void> = Promise.resolve();

  constructor(dependencies: TaskLifeDependencies) {
    this.#dependencies = dependencies;
  }

  start(): void {
    this.#done = this.#run(this.#abort.signal);
  }

  /** Ends the attempt that is under way now, whenever it is called, so that another one begins. */
  renewer(): () => void {
    const renewal = this.#renewal;
    return () => renewal.abort(new Error('the attempt begins anew'));
  }

  /** Resolves when nothing of the task is open any more. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error('the task is stopped'));
    await this.#done;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { attempt, onFailure, mayRetry } = this.#dependencies;
    for (let failures = 0; !signal.aborted; ) {
      const renewal = new AbortController();
      this.#renewal = renewal;
      try {
        await attempt(AbortSignal.any([signal, renewal.signal]));
        if (!renewal.signal.aborted) return;
        continue;
      } catch (error) {
        if (signal.aborted) return;
        if (renewal.signal.aborted) continue;
        onFailure(error);
        if (!mayRetry(error)) return;
      }
      const pauseMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10));
      failures += 1;
      await sleep(pauseMs, undefined, { signal }).catch(() => {});
    }
  }
}

/** Resolves when aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) =>
    signal.addEventListener('abort', () => resolve(), { once: true }),
  );
}
