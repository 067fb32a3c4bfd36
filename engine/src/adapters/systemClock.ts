import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '../ports/clock.ts';

/** All in milliseconds, each since a start of its own. */
export interface TimeSources {
  /** Stands still while the machine sleeps: CLOCK_MONOTONIC, on which Node's timers run, too. */
  readonly monotonicMs: () => number;
  /** Jumps when somebody sets it. Cheap. */
  readonly wallMs: () => number;
  /** Counts sleep: CLOCK_BOOTTIME. Dear; undefined where there is none. */
  readonly bootMs: () => number | undefined;
}

/** The wall clock is corrected by less at a time, or was set. */
const JUMP_MS = 100;
/** What /proc/uptime tells is rounded to 10 ms. */
const ROUNDED_MS = 20;

/**
 * Monotonic time that counts while the machine sleeps: who holds a lease must know that it is over
 * when he wakes up. The wall clock only says when to look; where nothing counts sleep, its leaps
 * ahead are taken for sleep.
 */
export function wakefulTime({ monotonicMs, wallMs, bootMs }: TimeSources): () => number {
  let aheadMs = wallMs() - monotonicMs();
  const bootAheadMs = (bootMs() ?? 0) - monotonicMs();
  let sleptMs = 0;
  return () => {
    const now = monotonicMs();
    const leaptMs = wallMs() - now - aheadMs;
    if (Math.abs(leaptMs) > JUMP_MS) {
      aheadMs += leaptMs;
      const boot = bootMs();
      const slept = boot === undefined ? sleptMs + leaptMs : boot - now - bootAheadMs;
      if (slept > sleptMs + ROUNDED_MS) sleptMs = slept;
    }
    return now + sleptMs;
  };
}

/** A delay that does not fit into 31 bits Node takes for 1 ms. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

function uptimeMs(): number | undefined {
  try {
    const [seconds] = readFileSync('/proc/uptime', 'utf8').split(' ');
    return Number(seconds) * 1000;
  } catch {
    // Not Linux.
    return undefined;
  }
}

/** The process's time, sleep of the machine included, and its timers, which do not run meanwhile. */
export const systemClock: Clock = {
  now: wakefulTime({
    monotonicMs: () => performance.now(),
    wallMs: () => Date.now(),
    bootMs: uptimeMs,
  }),
  setTimer: (delayMs, callback): Timer => {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number) => {
      timer =
        leftMs > LONGEST_TIMEOUT_MS
          ? setTimeout(() => arm(leftMs - LONGEST_TIMEOUT_MS), LONGEST_TIMEOUT_MS)
          : setTimeout(callback, leftMs);
    };
    arm(delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
