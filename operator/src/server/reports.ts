import type { TransferReport } from '@sluice/protocol/messages.ts';
import { NestedMap } from './nestedMap.ts';

/** Kept of a process: as many as one report names, which is all that it works on. */
const MAX_REPORTS = 10_000;

/** The newest report of one process on each epoch of each distribution: it may have thousands. */
export class Reports {
  readonly #byEpoch = new NestedMap<number, TransferReport>();

  get count(): number {
    return this.#byEpoch.size;
  }

  /** Whether there is room for it. */
  set(report: TransferReport): boolean {
    const { uid, epoch } = report;
    if (this.get(uid, epoch) === undefined && this.count >= MAX_REPORTS) return false;
    this.#byEpoch.set(uid, epoch, report);
    return true;
  }

  get(uid: string, epoch: number): TransferReport | undefined {
    return this.#byEpoch.get(uid, epoch);
  }

  /** By epoch. */
  of(uid: string): ReadonlyMap<number, TransferReport> {
    return this.#byEpoch.of(uid);
  }

  /** What is forgotten meanwhile does not come any more. */
  all(): Iterable<TransferReport> {
    return this.#byEpoch.values();
  }

  /** Without `epoch`: all of the distribution. */
  forget(uid: string, epoch?: number): void {
    if (epoch === undefined) this.#byEpoch.deleteAll(uid);
    else this.#byEpoch.delete(uid, epoch);
  }
}
