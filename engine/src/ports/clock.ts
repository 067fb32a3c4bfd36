/** Time for everything in the engine. Monotonic; never compared between machines. */
export interface Clock {
  /** Milliseconds since an arbitrary start, with a fraction; never goes back. */
  now(): number;
  /** Calls back once after delayMs unless cancelled; the callback must not throw. */
  setTimer(delayMs: number, callback: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}
