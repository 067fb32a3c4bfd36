/** What holders say they have used of the leases that are open. */
import type { LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import { judgeUse, provenBy, type UseVerdict } from '../policies/meters.ts';
import { chargeOf, type LeaseRecord, maxBytesOf } from './ledger.ts';
import type { OriginBook } from './originBook.ts';

interface Reported {
  readonly usedBytes: number;
  readonly provenBytes: number;
}

type UseRequest = Pick<
  Extract<LeaseRequest, { op: 'renew' | 'settle' }>,
  'op' | 'usedBytes' | 'meters'
>;

const NOTHING: Reported = { usedBytes: 0, provenBytes: 0 };

export class ReportedUse {
  readonly #leases = new Map<string, Reported>();

  clear(): void {
    this.#leases.clear();
  }

  /** Messages may overtake each other: the most that was said counts, and is answered. */
  report(lease: LeaseRecord, { op, usedBytes, meters }: UseRequest): UseVerdict {
    const before = this.#leases.get(lease.leaseId) ?? NOTHING;
    const isOver = op === 'settle';
    const report = { usedBytes, meters, isOver };
    const verdict = judgeUse(report, isOver ? before.provenBytes : 0, maxBytesOf(lease));
    const chargedBytes = isOver
      ? verdict.chargedBytes
      : Math.max(verdict.chargedBytes, before.usedBytes);
    const provenBytes = Math.max(before.provenBytes, provenBy(meters));
    this.#leases.set(lease.leaseId, { usedBytes: chargedBytes, provenBytes });
    return { ...verdict, chargedBytes };
  }

  /** What surely came under this lease, as far as its holder has said. */
  provenBy(leaseId: string): number {
    return this.#leases.get(leaseId)?.provenBytes ?? 0;
  }

  forget(leaseId: string): void {
    this.#leases.delete(leaseId);
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
    return this.#leases.get(leaseId)?.usedBytes ?? 0;
  }
}
