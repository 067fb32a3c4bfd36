import type { Clock, Timer } from '../ports/clock.ts';

/** The process's monotonic clock and timers. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer: (delayMs, callback): Timer => {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
