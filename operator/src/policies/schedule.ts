/**
 * Limits by the clock on the wall: which ones hold at a time, and when that changes. A window is
 * in force while the clock of its time zone shows a time in it. Where summer time begins, times
 * that the clock does not show have no window; where it ends, an hour that comes twice counts twice.
 */
import { DAY_NAMES } from '../api/v1alpha1/days.ts';

export interface Limit {
  readonly maxConnections: number;
  readonly maxBandwidthBytesPerSecond: number;
}

export interface LimitWindow {
  /** On which it begins; 0 is Sunday. */
  readonly days: readonly number[];
  /** Minutes since midnight. */
  readonly from: number;
  /** The same; not later than `from`: on the next day. */
  readonly to: number;
  /** Of the IANA database; undefined: none that is known, and the window always holds. */
  readonly timeZone: string | undefined;
  readonly limits: Partial<Limit>;
}

const DAY_MINUTES = 24 * 60;
const MINUTE_MS = 60_000;
/** Every time zone changes its offset at a multiple of this, in UTC. */
const QUARTER_MS = 15 * MINUTE_MS;
/** Every window comes again within a week, summer time aside. */
const LOOK_AHEAD_MS = 8 * DAY_MINUTES * MINUTE_MS;

/** Where windows overlap, the lowest of each limit holds; what no window names is as in `base`. */
export function limitsAt(base: Limit, schedule: readonly LimitWindow[], nowMs: number): Limit {
  const holding = schedule.filter((window) => holds(window, nowMs));
  // In none whose time zone is known: the one that is not may only lower.
  const known = holding.filter(({ timeZone }) => timeZone !== undefined);
  const all = holding.map(({ limits }) => ({ ...base, ...limits }));
  return lowest(known.length === 0 ? [base, ...all] : all);
}

/** The first time after `nowMs` at which other limits hold; undefined: none within eight days. */
export function nextChangeAt(
  base: Limit,
  schedule: readonly LimitWindow[],
  nowMs: number,
): number | undefined {
  if (schedule.length === 0) return undefined;
  const before = limitsAt(base, schedule, nowMs);
  let ms = Math.floor(nowMs / MINUTE_MS) * MINUTE_MS;
  while (ms < nowMs + LOOK_AHEAD_MS) {
    ms = Math.min(nextQuarter(ms), ...schedule.map((window) => nextEdge(window, ms)));
    const { maxConnections, maxBandwidthBytesPerSecond } = limitsAt(base, schedule, ms);
    const isSame =
      maxConnections === before.maxConnections &&
      maxBandwidthBytesPerSecond === before.maxBandwidthBytesPerSecond;
    if (!isSame) return ms;
  }
  return undefined;
}

/** The lowest of each limit that holds at any time from one to the other, both included. */
export function lowestWithin(
  base: Limit,
  schedule: readonly LimitWindow[],
  fromMs: number,
  toMs: number,
): Limit {
  const all = [limitsAt(base, schedule, fromMs)];
  let at = nextChangeAt(base, schedule, fromMs);
  while (at !== undefined && at <= toMs) {
    all.push(limitsAt(base, schedule, at));
    at = nextChangeAt(base, schedule, at);
  }
  return lowest(all);
}

export function isTimeZone(name: string): boolean {
  try {
    clockOf(name);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

function lowest(all: readonly Limit[]): Limit {
  return {
    maxConnections: Math.min(...all.map(({ maxConnections }) => maxConnections)),
    maxBandwidthBytesPerSecond: Math.min(
      ...all.map(({ maxBandwidthBytesPerSecond }) => maxBandwidthBytesPerSecond),
    ),
  };
}

function holds({ days, from, to, timeZone }: LimitWindow, ms: number): boolean {
  if (timeZone === undefined) return true;
  const { day, minute } = wallClockAt(timeZone, ms);
  if (from < to) return days.includes(day) && minute >= from && minute < to;
  const isBegun = days.includes(day) && minute >= from;
  return isBegun || (days.includes((day + 6) % 7) && minute < to);
}

/** The next time at which its clock shows its begin, its end, or another day. */
function nextEdge({ from, to, timeZone }: LimitWindow, ms: number): number {
  if (timeZone === undefined) return Number.POSITIVE_INFINITY;
  const { minute } = wallClockAt(timeZone, ms);
  const left = [from, to, 0].map((edge) => (edge - minute + DAY_MINUTES) % DAY_MINUTES);
  return ms + Math.min(...left.map((each) => each || DAY_MINUTES)) * MINUTE_MS;
}

function nextQuarter(ms: number): number {
  return (Math.floor(ms / QUARTER_MS) + 1) * QUARTER_MS;
}

/** Making one costs a thousand times what using it does. */
const clocks = new Map<string, Intl.DateTimeFormat>();

function clockOf(timeZone: string): Intl.DateTimeFormat {
  let clock = clocks.get(timeZone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
    clocks.set(timeZone, clock);
  }
  return clock;
}

function wallClockAt(timeZone: string, ms: number): { day: number; minute: number } {
  const text = clockOf(timeZone).format(ms);
  const match = /^([A-Z][a-z]{2}),? ([0-9]{2}):([0-9]{2})$/.exec(text);
  const day = (DAY_NAMES as readonly string[]).indexOf(match?.[1] ?? '');
  if (match === null || day < 0) throw new Error(`a clock in ${timeZone} shows '${text}'`);
  return { day, minute: Number(match[2]) * 60 + Number(match[3]) };
}
