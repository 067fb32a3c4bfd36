import type { TransferReport } from '@sluice/protocol/messages.ts';

type ByEpoch = ReadonlyMap<number, TransferReport>;

const none: ByEpoch = new Map();

/** Kept of a process: as many as one report names, which is all that it works on. */
const MAX_REPORTS = 10_000;

/**
 * The newest report of one process on each epoch of each distribution. A process may have thousands
 * of distributions: what is asked of one of them looks at no other.
 */
export class Reports {
  readonly #byUid = new Map<string, Map<number, TransferReport>>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Whether there is room for it. */
  set(report: TransferReport): boolean {
    let epochs = this.#byUid.get(report.uid);
    if (epochs?.has(report.epoch) !== true) {
      if (this.#count >= MAX_REPORTS) return false;
      this.#count += 1;
    }
    if (epochs === undefined) {
      epochs = new Map();
      this.#byUid.set(report.uid, epochs);
    }
    epochs.set(report.epoch, report);
    return true;
  }

  get(uid: string, epoch: number): TransferReport | undefined {
    return this.#byUid.get(uid)?.get(epoch);
  }

  /** By epoch. */
  of(uid: string): ByEpoch {
    return this.#byUid.get(uid) ?? none;
  }

  /** What is forgotten meanwhile does not come any more. */
  *all(): Generator<TransferReport> {
    for (const epochs of this.#byUid.values()) yield* epochs.values();
  }

  /** Without `epoch`: all of the distribution. */
  forget(uid: string, epoch?: number): void {
    const epochs = this.#byUid.get(uid);
    if (epochs === undefined) return;
    this.#count -= epoch === undefined ? epochs.size : Number(epochs.delete(epoch));
    if (epoch === undefined || epochs.size === 0) this.#byUid.delete(uid);
  }
}
