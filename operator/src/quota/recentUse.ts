/**
 * What was leased at one host within the last second. PURE.
 *
 * In any second an origin may emit the slack that was leased when the second began, and what the
 * rates bring meanwhile. So slack that a lease gives back may not come again as another's rate
 * before a second has gone by: the second that began with it may have seen it all.
 */
import type { Usage } from './ledger.ts';

export interface RecentPeak {
  readonly slackBytes: number;
  readonly windowBytes: number;
}

export class RecentUse {
  readonly #slack: Peak;
  readonly #window: Peak;

  /** `spanMs`: a second, by the slowest clock. */
  constructor(spanMs: number) {
    this.#slack = new Peak(spanMs);
    this.#window = new Peak(spanMs);
  }

  /** So much counts from now on; whether it is less than before. */
  note({ slackBytes, windowBytes }: Usage, nowMs: number): boolean {
    const isLessSlack = this.#slack.note(slackBytes, nowMs);
    const isLess = this.#window.note(windowBytes, nowMs);
    return isLessSlack || isLess;
  }

  /** Up to now it may have been anything. */
  unknown(nowMs: number): void {
    this.#slack.note(Number.POSITIVE_INFINITY, nowMs);
    this.#window.note(Number.POSITIVE_INFINITY, nowMs);
  }

  /** When less of either counts than now, should nothing happen before; Infinity: never. */
  fallsAtMs(nowMs: number): number {
    return Math.min(this.#slack.fallsAtMs(nowMs), this.#window.fallsAtMs(nowMs));
  }

  /** The most of each that counted at any time within the last second, now included. */
  peak(nowMs: number): RecentPeak {
    return { slackBytes: this.#slack.since(nowMs), windowBytes: this.#window.since(nowMs) };
  }
}

/** Largest value of a sliding window: only what nothing later exceeds is kept. */
class Peak {
  readonly #spanMs: number;
  /** Descending by value, ascending by end; the last one is in force. */
  #values: { readonly value: number; endMs: number }[] = [];

  constructor(spanMs: number) {
    this.#spanMs = spanMs;
  }

  note(value: number, nowMs: number): boolean {
    const last = this.#values.at(-1);
    if (last !== undefined && last.endMs === Number.POSITIVE_INFINITY) last.endMs = nowMs;
    const larger = this.#values.findLastIndex((each) => each.value > value);
    this.#values.splice(larger + 1);
    this.#values.push({ value, endMs: Number.POSITIVE_INFINITY });
    this.since(nowMs);
    return last !== undefined && value < last.value;
  }

  fallsAtMs(nowMs: number): number {
    this.since(nowMs);
    const [first] = this.#values;
    return first === undefined ? Number.POSITIVE_INFINITY : first.endMs + this.#spanMs;
  }

  since(nowMs: number): number {
    const first = this.#values.findIndex(({ endMs }) => endMs >= nowMs - this.#spanMs);
    if (first > 0) this.#values.splice(0, first);
    return this.#values[0]?.value ?? 0;
  }
}
