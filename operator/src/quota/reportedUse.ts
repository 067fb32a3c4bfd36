/** What holders say they have used of the leases that are open: for people, not for limits. */
import type { OriginUsage } from '../controllers/dataSide.ts';
import { chargeOf } from './ledger.ts';
import type { OriginBook } from './originBook.ts';
import { groupUsage } from './originBooks.ts';

export class ReportedUse {
  readonly #bytes = new Map<string, number>();

  clear(): void {
    this.#bytes.clear();
  }

  /** Messages may overtake each other: the most that was said counts, and is answered. */
  report(leaseId: string, usedBytes: number): number {
    const most = Math.max(this.#of(leaseId), usedBytes);
    this.#bytes.set(leaseId, most);
    return most;
  }

  forget(leaseId: string): void {
    this.#bytes.delete(leaseId);
  }

  ofOrigin(books: readonly OriginBook[]): OriginUsage {
    for (const book of books) book.rollPeriod();
    const { connections, rateBytesPerSecond } = groupUsage(books);
    const periodStartMs = Math.max(0, ...books.map(({ ledger }) => ledger.periodStartMs));
    let trafficBytes = 0;
    for (const { ledger } of books) {
      trafficBytes += ledger.settledBytes;
      for (const leaseId of ledger.leases.keys()) trafficBytes += this.#of(leaseId);
    }
    return {
      connections,
      rateBytesPerSecond,
      trafficBytes,
      ...(periodStartMs > 0 && { periodStart: new Date(periodStartMs).toISOString() }),
    };
  }

  /** All epochs. */
  ofDistribution(uid: string, books: Iterable<OriginBook>): number {
    let bytes = 0;
    for (const { ledger } of books) {
      bytes += chargeOf(ledger, uid).bytes;
      for (const lease of ledger.leases.values()) {
        if (lease.uid === uid) bytes += this.#of(lease.leaseId);
      }
    }
    return bytes;
  }

  #of(leaseId: string): number {
    return this.#bytes.get(leaseId) ?? 0;
  }
}
