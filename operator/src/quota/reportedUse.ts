/** What holders say they have used of the leases that are open: for people, not for limits. */
import { chargeOf } from './ledger.ts';
import type { OriginBook } from './originBook.ts';

export class ReportedUse {
  readonly #bytes = new Map<string, number>();

  clear(): void {
    this.#bytes.clear();
  }

  /** Messages may overtake each other: the most that was said counts, and is answered. */
  report(leaseId: string, usedBytes: number): number {
    const most = Math.max(this.of(leaseId), usedBytes);
    this.#bytes.set(leaseId, most);
    return most;
  }

  forget(leaseId: string): void {
    this.#bytes.delete(leaseId);
  }

  /** Of this period. */
  trafficBytes(books: Iterable<OriginBook>): number {
    let bytes = 0;
    for (const { ledger } of books) {
      bytes += ledger.settledBytes;
      for (const leaseId of ledger.leases.keys()) bytes += this.of(leaseId);
    }
    return bytes;
  }

  /** All epochs. */
  ofDistribution(uid: string, books: Iterable<OriginBook>): number {
    let bytes = 0;
    for (const { ledger } of books) {
      bytes += chargeOf(ledger, uid).bytes;
      for (const lease of ledger.leases.values()) {
        if (lease.uid === uid) bytes += this.of(lease.leaseId);
      }
    }
    return bytes;
  }

  of(leaseId: string): number {
    return this.#bytes.get(leaseId) ?? 0;
  }
}
