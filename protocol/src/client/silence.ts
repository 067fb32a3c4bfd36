/**
 * Notices that nothing was heard for a while. What has come in the meantime and lies unread counts as
 * heard: timers run before connections are read, and a process that was stopped, or had no processor,
 * for longer than the limit would else take every server for dead.
 */
export class Silence {
  readonly #limitMs: number;
  readonly #onSilent: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(limitMs: number, onSilent: () => void) {
    this.#limitMs = limitMs;
    this.#onSilent = onSilent;
  }

  /** From now on. */
  listen(): void {
    this.pause();
    const timer = setTimeout(() => {
      // By then connections have been read once.
      setImmediate(() => {
        if (this.#timer === timer) this.#onSilent();
      });
    }, this.#limitMs);
    this.#timer = timer;
  }

  /** Until it is told to listen again. */
  pause(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
