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
  readonly #spanMs: number;
  readonly #slack: Peak;
  readonly #window: Peak;
  /** Slack of requests of our own that are under way, by lease. */
  readonly #probes = new Map<string, number>();
  /** What the origin has written for those that are over. */
  #probed: { readonly bytes: number; readonly endMs: number }[] = [];

  /** `spanMs`: a second, by the slowest clock. */
  constructor(spanMs: number) {
    this.#spanMs = spanMs;
    this.#slack = new Peak(spanMs);
    this.#window = new Peak(spanMs);
  }

  /** So much counts from now on; whether it is less than before. */
  note({ slackBytes, windowBytes }: Usage, nowMs: number): boolean {
    const probes = this.#probing();
    const isLessSlack = this.#slack.note(slackBytes - probes, nowMs);
    const isLess = this.#window.note(windowBytes - probes, nowMs);
    return isLessSlack || isLess;
  }

  /**
   * A request of our own may take so much at once. It is apart, because how much it was is known
   * when it is over: only that counts for a second more, and not the megabytes that an origin
   * without ranges might have sent.
   */
  probes(leaseId: string, slackBytes: number): void {
    this.#probes.set(leaseId, slackBytes);
  }

  /** The origin has written at most so much for it; whether it is one of these. */
  probed(leaseId: string, bytes: number, nowMs: number): boolean {
    const slackBytes = this.#probes.get(leaseId);
    if (slackBytes === undefined) return false;
    this.#probes.delete(leaseId);
    this.#probed.push({ bytes: Math.min(bytes, slackBytes), endMs: nowMs });
    return true;
  }

  /** What is left of it counts like any other lease. */
  forgetProbe(leaseId: string): void {
    this.#probes.delete(leaseId);
  }

  /** Up to now it may have been anything. */
  unknown(nowMs: number): void {
    this.#slack.note(Number.POSITIVE_INFINITY, nowMs);
    this.#window.note(Number.POSITIVE_INFINITY, nowMs);
  }

  /** When less of either counts than now, should nothing happen before; Infinity: never. */
  fallsAtMs(nowMs: number): number {
    this.#dropProbed(nowMs);
    const [first] = this.#probed;
    return Math.min(
      this.#slack.fallsAtMs(nowMs),
      this.#window.fallsAtMs(nowMs),
      first === undefined ? Number.POSITIVE_INFINITY : first.endMs + this.#spanMs,
    );
  }

  /** The most of each that counted at any time within the last second, now included. */
  peak(nowMs: number): RecentPeak {
    this.#dropProbed(nowMs);
    const probed = this.#probed.reduce((sum, { bytes }) => sum + bytes, this.#probing());
    return {
      slackBytes: this.#slack.since(nowMs) + probed,
      windowBytes: this.#window.since(nowMs) + probed,
    };
  }

  #probing(): number {
    return [...this.#probes.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  #dropProbed(nowMs: number): void {
    this.#probed = this.#probed.filter(({ endMs }) => endMs >= nowMs - this.#spanMs);
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
