/**
 * What was taken when, coarsely: by hour for two days, by day for a year. From it the bytes of a
 * period are known that had another begin when they were taken. PURE.
 */
export interface TrafficHistory {
  /** Milliseconds since the Unix epoch: what was taken before is not in it. */
  readonly sinceMs: number;
  readonly latest: TakenSlot;
  /** Before the latest one, in order. */
  readonly hours: readonly TakenSlot[];
  /** Before these hours, in order. */
  readonly days: readonly TakenSlot[];
}

export interface TakenSlot {
  /** Hours, or days, since the Unix epoch. */
  readonly index: number;
  readonly bytes: number;
}

const HOUR_MS = 3_600_000;
const DAY_HOURS = 24;
const KEPT_HOURS = 2 * DAY_HOURS;
/** The longest period has 366 days. */
const KEPT_DAYS = 368;

export const noHistory: TrafficHistory = {
  sinceMs: 0,
  latest: { index: 0, bytes: 0 },
  hours: [],
  days: [],
};

/** A clock that is set back moves nothing into an earlier hour. */
export function withTaken(history: TrafficHistory, bytes: number, atMs: number): TrafficHistory {
  const { latest } = history;
  const hour = Math.max(Math.floor(atMs / HOUR_MS), latest.index);
  if (hour === latest.index)
    return { ...history, latest: { index: hour, bytes: latest.bytes + bytes } };
  const oldest = hour - KEPT_HOURS;
  const all = latest.bytes === 0 ? history.hours : [...history.hours, latest];
  return {
    ...history,
    latest: { index: hour, bytes },
    hours: all.filter(({ index }) => index >= oldest),
    days: withDays(
      history.days,
      all.filter(({ index }) => index < oldest),
      Math.floor(hour / DAY_HOURS) - KEPT_DAYS,
    ),
  };
}

function withDays(
  days: readonly TakenSlot[],
  hours: readonly TakenSlot[],
  oldest: number,
): readonly TakenSlot[] {
  if (hours.length === 0) return days;
  const kept = new Map(days.map(({ index, bytes }) => [index, bytes]));
  for (const { index: hour, bytes } of hours) {
    const day = Math.floor(hour / DAY_HOURS);
    kept.set(day, (kept.get(day) ?? 0) + bytes);
  }
  return [...kept].filter(([index]) => index >= oldest).map(([index, bytes]) => ({ index, bytes }));
}

/** Of an hour or a day that is only in part after this time all counts. */
export function takenSince({ latest, hours, days }: TrafficHistory, fromMs: number): number {
  const sum = (slots: readonly TakenSlot[], slotMs: number) =>
    slots
      .filter(({ index }) => (index + 1) * slotMs > fromMs)
      .reduce((bytes, slot) => bytes + slot.bytes, 0);
  return sum([...hours, latest], HOUR_MS) + sum(days, DAY_HOURS * HOUR_MS);
}
