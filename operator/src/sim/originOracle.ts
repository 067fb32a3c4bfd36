/**
 * Judges by what the origin's sockets show and nothing else: it shares no code with what grants.
 *
 * Which part of the origin has which limits changes. What was granted under the parts of before
 * may be in use for a while, and nothing that is granted later may come on top of it: so within a
 * part of now there is at most its own limit, or what the parts of before allowed of it.
 */
export interface OracleLimits {
  readonly connections: number;
  readonly bandwidthBytesPerSecond: number;
  readonly trafficBytes: number;
}

/** On every day, by a clock so far ahead of UTC; one that ends before its begin spans midnight. */
export interface OracleWindow {
  readonly offsetMinutes: number;
  readonly fromMinute: number;
  readonly toMinute: number;
  readonly limits: Partial<Omit<OracleLimits, 'trafficBytes'>>;
}

/** Places that share limits. */
export interface OraclePart {
  readonly places: readonly string[];
  readonly limits: OracleLimits;
  /** What holds in it instead. */
  readonly window?: OracleWindow;
}

export interface OracleOptions {
  readonly parts: readonly OraclePart[];
  readonly periodMs: number;
  /** How long what a lost holder has left may be open, after its lease was over. */
  readonly lostMs: number;
}

interface Division {
  readonly parts: readonly OraclePart[];
  /** Until when leases that were granted under it may be in use. */
  untilMs: number;
}

/** At one place. */
interface Seen {
  open: number;
  written: { readonly atMs: number; readonly bytes: number }[];
  from: number;
  windowBytes: number;
  periodBytes: number;
  /** Of these, when everything from before the first division that counts was over. */
  baseBytes: number;
}

const WINDOW_MS = 1_000;
const DAY_MINUTES = 24 * 60;
const MINUTE_MS = 60_000;

export class OriginOracle {
  readonly violations: string[] = [];
  /** The most that was seen, as a share of the limit. */
  readonly peak = { connections: 0, window: 0, traffic: 0 };
  totalBytes = 0;
  readonly #options: OracleOptions;
  readonly #divisions: Division[];
  readonly #seen = new Map<string, Seen>();
  #period = Number.NEGATIVE_INFINITY;
  /** The first division that counted when bytes were written last. */
  #firstOfTraffic = 0;

  constructor(options: OracleOptions) {
    this.#options = options;
    this.#divisions = [{ parts: options.parts, untilMs: Number.POSITIVE_INFINITY }];
  }

  get openConnections(): number {
    let sum = 0;
    for (const { open } of this.#seen.values()) sum += open;
    return sum;
  }

  /** These hold, and what held before as well until inForce(): answers the change's number. */
  changed(parts: readonly OraclePart[]): number {
    this.#divisions.push({ parts, untilMs: Number.POSITIVE_INFINITY });
    return this.#divisions.length - 1;
  }

  /** From this time on nothing more may be used than this change allows. */
  inForce(change: number, fromMs: number): void {
    for (const each of this.#divisions.slice(0, change)) {
      each.untilMs = Math.min(each.untilMs, fromMs);
    }
  }

  /** `wallMs`: the origin's own calendar. */
  opened(place: string, atMs: number, wallMs: number): void {
    this.#at(place).open += 1;
    const { places } = this.#partOf(place);
    const open = this.#sum(places, (seen) => seen.open);
    const allowed = this.#most(places, this.#firstAt(atMs), (part) => {
      return limitAt(part, wallMs, 'connections');
    });
    this.peak.connections = Math.max(this.peak.connections, shareOf(open, allowed));
    if (open > allowed) this.#violated(atMs, places, `${open} connections of ${allowed}`);
  }

  closed(place: string): void {
    this.#at(place).open -= 1;
  }

  wrote(place: string, bytes: number, atMs: number, wallMs: number): void {
    this.totalBytes += bytes;
    this.#slide(place, bytes, atMs, wallMs);
    this.#count(place, bytes, atMs, wallMs);
  }

  #slide(place: string, bytes: number, atMs: number, wallMs: number): void {
    const seen = this.#at(place);
    seen.written.push({ atMs, bytes });
    seen.windowBytes += bytes;
    const { places } = this.#partOf(place);
    for (const each of places) forget(this.#at(each), atMs - WINDOW_MS);
    const written = this.#sum(places, ({ windowBytes }) => windowBytes);
    const allowed = this.#most(places, this.#firstAt(atMs - WINDOW_MS), (part) => {
      const limit = 'bandwidthBytesPerSecond';
      return Math.max(limitAt(part, wallMs, limit), limitAt(part, wallMs - WINDOW_MS, limit));
    });
    this.peak.window = Math.max(this.peak.window, shareOf(written, allowed));
    if (written > allowed) {
      this.#violated(atMs, places, `${written} bytes in a second of ${allowed}`);
    }
  }

  #count(place: string, bytes: number, atMs: number, wallMs: number): void {
    const period = Math.floor(wallMs / this.#options.periodMs);
    if (period > this.#period) {
      this.#period = period;
      for (const seen of this.#seen.values()) seen.periodBytes = seen.baseBytes = 0;
    }
    const first = this.#firstAt(atMs);
    if (first > this.#firstOfTraffic) {
      this.#firstOfTraffic = first;
      // What was taken before a limit was lowered cannot be given back.
      for (const seen of this.#seen.values()) seen.baseBytes = seen.periodBytes;
    }
    this.#at(place).periodBytes += bytes;
    const { places } = this.#partOf(place);
    const taken = this.#sum(places, ({ periodBytes }) => periodBytes);
    const base = (of: readonly string[]) => this.#sum(of, ({ baseBytes }) => baseBytes);
    const allowed = this.#most(places, first, ({ limits }) => limits.trafficBytes, base);
    this.peak.traffic = Math.max(this.peak.traffic, shareOf(taken, allowed));
    if (taken > allowed) {
      this.#violated(atMs, places, `${taken} bytes in the period of ${allowed}`);
    }
  }

  /**
   * What there may be at these places. In each part of the newest division its limit, or what of it
   * there may have been under the one before, and so on back to the first that counts.
   */
  #most(
    places: readonly string[],
    first: number,
    limitOf: (part: OraclePart) => number,
    base: (places: readonly string[]) => number = () => 0,
    newest = this.#divisions.length - 1,
  ): number {
    let sum = 0;
    for (const part of this.#divisions[newest]?.parts ?? []) {
      const common = part.places.filter((place) => places.includes(place));
      if (common.length === 0) continue;
      const before =
        newest > first ? this.#most(common, first, limitOf, base, newest - 1) : base(common);
      sum += Math.max(limitOf(part), before);
    }
    return sum;
  }

  /**
   * The first division that counts at this time. Where only limits have changed, what lost holders
   * have left open is of no account: nothing is opened beside it. Where places were divided
   * otherwise, it may be in another part than those who still open what they were granted.
   */
  #firstAt(atMs: number): number {
    const { lostMs } = this.#options;
    const lost = this.#divisions.findIndex(({ untilMs }) => untilMs + lostMs > atMs);
    const since = this.#divisions.slice(lost);
    const isDivided = since.some(({ parts }) => shapeOf(parts) !== shapeOf(since[0]?.parts ?? []));
    return isDivided ? lost : this.#divisions.findIndex(({ untilMs }) => untilMs > atMs);
  }

  #partOf(place: string): OraclePart {
    const part = this.#divisions.at(-1)?.parts.find(({ places }) => places.includes(place));
    if (part === undefined) throw new Error(`${place} is in no part`);
    return part;
  }

  #at(place: string): Seen {
    let seen = this.#seen.get(place);
    if (seen === undefined) {
      seen = { open: 0, written: [], from: 0, windowBytes: 0, periodBytes: 0, baseBytes: 0 };
      this.#seen.set(place, seen);
    }
    return seen;
  }

  #sum(places: readonly string[], of: (seen: Seen) => number): number {
    return places.reduce((sum, place) => sum + of(this.#at(place)), 0);
  }

  #violated(atMs: number, places: readonly string[], what: string): void {
    this.violations.push(`${(atMs / 1000).toFixed(3)} s, ${places.join(' and ')}: ${what}`);
  }
}

function forget(seen: Seen, untilMs: number): void {
  let next = seen.written[seen.from];
  while (next !== undefined && next.atMs <= untilMs) {
    seen.windowBytes -= next.bytes;
    seen.from += 1;
    next = seen.written[seen.from];
  }
  if (seen.from <= 1_000) return;
  seen.written = seen.written.slice(seen.from);
  seen.from = 0;
}

function limitAt(
  { limits, window }: OraclePart,
  wallMs: number,
  which: 'connections' | 'bandwidthBytesPerSecond',
): number {
  const inWindow =
    window !== undefined && isWithin(window, wallMs) ? window.limits[which] : undefined;
  return inWindow ?? limits[which];
}

function isWithin({ offsetMinutes, fromMinute, toMinute }: OracleWindow, wallMs: number): boolean {
  const minute = (Math.floor(wallMs / MINUTE_MS) + offsetMinutes) % DAY_MINUTES;
  if (fromMinute < toMinute) return minute >= fromMinute && minute < toMinute;
  return minute >= fromMinute || minute < toMinute;
}

/** Which places are together. */
function shapeOf(parts: readonly OraclePart[]): string {
  return parts
    .map(({ places }) => [...places].sort().join(' '))
    .sort()
    .join('; ');
}

function shareOf(used: number, allowed: number): number {
  return allowed > 0 ? used / allowed : 0;
}
