import type { Clock } from '@sluice/engine/ports/clock.ts';

/** This process's own, as the programs have it. */
export const processClock: Clock = {
  now: () => performance.now(),
  setTimer: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
