/** What people see of an origin's limits: what is used, what is held back and until when. */
import type { OriginUsage } from '../controllers/dataSide.ts';
import { BOUNDARY_MS, periodEndAfter } from './ledger.ts';
import type { MeterWatch } from './meterWatch.ts';
import { LEASE_LIFE_MS } from './originBook.ts';
import { groupUsage, type HostGroup, isOver, type OriginBooks } from './originBooks.ts';
import type { ReportedUse } from './reportedUse.ts';
import type { Sharing } from './sharing.ts';

export interface OriginReportDependencies {
  readonly books: OriginBooks;
  readonly sharing: Sharing;
  readonly used: ReportedUse;
  readonly meters: MeterWatch;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
}

export class OriginReport {
  readonly #dependencies: OriginReportDependencies;
  /** When traffic was first refused, milliseconds since the Unix epoch, by group. */
  readonly #exhausted = new Map<string, number>();
  /** When more was first seen leased than a limit that was lowered, the same. */
  readonly #overSince = new Map<string, number>();

  constructor(dependencies: OriginReportDependencies) {
    this.#dependencies = dependencies;
  }

  clear(): void {
    this.#exhausted.clear();
    this.#overSince.clear();
  }

  trafficRefused({ key }: HostGroup): void {
    if (!this.#exhausted.has(key)) this.#exhausted.set(key, this.#dependencies.wallClock());
  }

  granted({ key }: HostGroup): void {
    this.#exhausted.delete(key);
  }

  /** Undefined while not all is known. */
  usage(originName: string): OriginUsage | undefined {
    const { books, sharing, used, meters } = this.#dependencies;
    const group = books.groupNamed(originName);
    if (group === undefined) return undefined;
    for (const book of group.books) book.rollPeriod();
    const { limits } = group;
    const usage = groupUsage(group.books);
    const { connections, rateBytesPerSecond, windowBytes, trafficBytes: chargedBytes } = usage;
    return {
      connections,
      rateBytesPerSecond,
      windowBytes,
      trafficBytes: used.trafficBytes(group.books),
      chargedBytes,
      ...this.#period(group),
      limits: {
        connections: limits.connections,
        bandwidthBytesPerSecond: limits.bandwidthBytesPerSecond,
        trafficBytes: limits.traffic?.bytes,
      },
      ...this.#limitsChangeAt(originName),
      ...this.#withinLimitsBy(group),
      heldBack: sharing.heldBack(group),
      disagreements: meters.lately(group.books),
    };
  }

  #limitsChangeAt(originName: string): Pick<OriginUsage, 'limitsChangeAt'> {
    const atMs = this.#dependencies.books.limitsChangeAt(originName);
    return atMs === undefined ? {} : { limitsChangeAt: isoOf(atMs) };
  }

  #period(group: HostGroup): Pick<OriginUsage, 'periodStart' | 'periodEnd' | 'exhaustedAt'> {
    const { traffic } = group.limits;
    const begunMs = Math.max(0, ...group.books.map(({ ledger }) => ledger.periodStartMs));
    if (traffic === undefined || begunMs === 0) {
      this.#exhausted.delete(group.key);
      return begunMs === 0 ? {} : { periodStart: isoOf(begunMs) };
    }
    const endMs = periodEndAfter(begunMs, traffic.periodMs);
    const startMs = endMs - traffic.periodMs;
    const exhaustedAtMs = this.#exhausted.get(group.key);
    const isOfThisPeriod = exhaustedAtMs !== undefined && exhaustedAtMs >= startMs + BOUNDARY_MS;
    if (!isOfThisPeriod) this.#exhausted.delete(group.key);
    return {
      periodStart: isoOf(startMs),
      periodEnd: isoOf(endMs + BOUNDARY_MS),
      ...(isOfThisPeriod && { exhaustedAt: isoOf(exhaustedAtMs) }),
    };
  }

  #withinLimitsBy(group: HostGroup): Pick<OriginUsage, 'withinLimitsBy'> {
    if (!isOver(group)) {
      this.#overSince.delete(group.key);
      return {};
    }
    const sinceMs = this.#overSince.get(group.key) ?? this.#dependencies.wallClock();
    this.#overSince.set(group.key, sinceMs);
    const isLost = group.books.some(({ ledger }) =>
      [...ledger.leases.values()].some(({ expired }) => expired),
    );
    const lastMs = isLost ? LEASE_LIFE_MS + group.limits.closeAfterMs : LEASE_LIFE_MS;
    return { withinLimitsBy: isoOf(sinceMs + lastMs) };
  }
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
