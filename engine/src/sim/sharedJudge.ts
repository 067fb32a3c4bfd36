import type { DecodedBatch } from '../feed/batch.ts';
import type { BatchFault, BatchJudge } from '../feed/batchJudge.ts';

/**
 * One judge for all hosts of a world: what one of them has read and checked is the same for every
 * other, and is in memory once.
 */
export class SharedJudge implements BatchJudge {
  readonly #judge: BatchJudge;
  /** By their bytes; also what is no batch. */
  readonly #batches = new Map<string, DecodedBatch | undefined>();
  readonly #faults = new Map<DecodedBatch, BatchFault | undefined>();

  constructor(judge: BatchJudge) {
    this.#judge = judge;
  }

  decode(bytes: Uint8Array): DecodedBatch | undefined {
    const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
    const known = this.#batches.get(name);
    if (known !== undefined || this.#batches.has(name)) return known;
    const batch = this.#judge.decode(bytes);
    this.#batches.set(name, batch);
    return batch;
  }

  faultOf(batch: DecodedBatch): BatchFault | undefined {
    if (this.#faults.has(batch)) return this.#faults.get(batch);
    const fault = this.#judge.faultOf(batch);
    this.#faults.set(batch, fault);
    return fault;
  }

  /** The memory that all share. */
  intern(bytes: Uint8Array): Uint8Array {
    return this.decode(bytes)?.bytes ?? Uint8Array.from(bytes);
  }
}
