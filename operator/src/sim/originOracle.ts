/**
 * Judges by what the origin's sockets show and nothing else: it shares no code with what grants.
 */
export interface OracleLimits {
  readonly connections: number;
  readonly bandwidthBytesPerSecond: number;
  readonly trafficBytes: number;
}

interface InForce {
  readonly limits: OracleLimits;
  /** When a lower one had taken its place. */
  untilMs: number;
}

const WINDOW_MS = 1_000;

export class OriginOracle {
  readonly violations: string[] = [];
  /** The most that was seen, as a share of the limit. */
  readonly peak = { connections: 0, window: 0, traffic: 0 };
  totalBytes = 0;
  readonly #periodMs: number;
  readonly #limits: InForce[];
  #open = 0;
  #written: { atMs: number; bytes: number }[] = [];
  #from = 0;
  #windowBytes = 0;
  #period = Number.NEGATIVE_INFINITY;
  #periodBytes = 0;
  /** What had been taken when a lower limit of traffic came into force. */
  #grandfatheredBytes = 0;

  constructor(limits: OracleLimits, periodMs: number) {
    this.#limits = [{ limits, untilMs: Number.POSITIVE_INFINITY }];
    this.#periodMs = periodMs;
  }

  get openConnections(): number {
    return this.#open;
  }

  /** These hold, and what held before as well until inForce(): answers the change's number. */
  changed(limits: OracleLimits): number {
    this.#limits.push({ limits, untilMs: Number.POSITIVE_INFINITY });
    return this.#limits.length - 1;
  }

  /** From this time on nothing more may be used than this change allows. */
  inForce(change: number, fromMs: number): void {
    for (const each of this.#limits.slice(0, change)) {
      each.untilMs = Math.min(each.untilMs, fromMs);
    }
  }

  opened(atMs: number): void {
    this.#open += 1;
    const allowed = this.#most(atMs, ({ connections }) => connections);
    this.peak.connections = Math.max(this.peak.connections, this.#open / allowed);
    if (this.#open > allowed) this.#violated(atMs, `${this.#open} connections of ${allowed}`);
  }

  closed(): void {
    this.#open -= 1;
  }

  /** `wallMs`: the origin's own calendar. */
  wrote(bytes: number, atMs: number, wallMs: number): void {
    this.totalBytes += bytes;
    this.#slide(bytes, atMs);
    this.#count(bytes, atMs, wallMs);
  }

  #slide(bytes: number, atMs: number): void {
    this.#written.push({ atMs, bytes });
    this.#windowBytes += bytes;
    while ((this.#written[this.#from]?.atMs ?? atMs) <= atMs - WINDOW_MS) {
      this.#windowBytes -= this.#written[this.#from]?.bytes ?? 0;
      this.#from += 1;
    }
    if (this.#from > 1_000) {
      this.#written = this.#written.slice(this.#from);
      this.#from = 0;
    }
    const allowed = this.#most(atMs - WINDOW_MS, (limits) => limits.bandwidthBytesPerSecond);
    this.peak.window = Math.max(this.peak.window, this.#windowBytes / allowed);
    if (this.#windowBytes > allowed) {
      this.#violated(atMs, `${this.#windowBytes} bytes in a second of ${allowed}`);
    }
  }

  #count(bytes: number, atMs: number, wallMs: number): void {
    const period = Math.floor(wallMs / this.#periodMs);
    if (period > this.#period) {
      this.#period = period;
      this.#periodBytes = 0;
      this.#grandfatheredBytes = 0;
    }
    const allowed = this.#most(atMs, ({ trafficBytes }) => trafficBytes);
    // What was taken before a limit was lowered cannot be given back.
    const past = this.#limits.some(({ untilMs }) => untilMs < atMs);
    if (!past) this.#grandfatheredBytes = Math.max(this.#grandfatheredBytes, this.#periodBytes);
    this.#periodBytes += bytes;
    const most = Math.max(allowed, past ? this.#grandfatheredBytes : 0);
    this.peak.traffic = Math.max(this.peak.traffic, this.#periodBytes / most);
    if (this.#periodBytes > most) {
      this.#violated(atMs, `${this.#periodBytes} bytes in the period of ${most}`);
    }
  }

  #most(atMs: number, of: (limits: OracleLimits) => number): number {
    let most = 0;
    for (const { limits, untilMs } of this.#limits) {
      if (untilMs > atMs) most = Math.max(most, of(limits));
    }
    return most;
  }

  #violated(atMs: number, what: string): void {
    this.violations.push(`${(atMs / 1000).toFixed(3)} s: ${what}`);
  }
}
