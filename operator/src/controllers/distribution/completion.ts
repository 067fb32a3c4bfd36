/**
 * Keeps that an epoch is complete. What users were told stays so, also under the next leader: a change
 * at the origin alone starts nothing from then on.
 */
import type { Logger } from 'winston';
import { saysDelivered } from '../../policies/distributionStatus.ts';
import type { EpochStore } from '../dataSide.ts';
import type { Memory } from './memory.ts';

export interface CompletionDependencies {
  readonly epochs: Pick<EpochStore, 'saveCompleted'>;
  /** RFC 3339, UTC. */
  wallTime(): string;
  readonly logger: Logger;
  /** It is not kept: it is to be looked at again. */
  readonly failed: (key: string) => void;
}

export class Completion {
  readonly #deps: CompletionDependencies;

  constructor(dependencies: CompletionDependencies) {
    this.#deps = dependencies;
  }

  /** After what was told. Nobody waits for the database. */
  look(key: string, memory: Memory): void {
    const { epochs, failed, logger, wallTime } = this.#deps;
    const { record } = memory;
    if (record === undefined || record.completedAt !== undefined) return;
    const { uid, epoch } = record;
    if (!saysDelivered(memory.told, epoch)) return;
    const completedAt = wallTime();
    memory.record = { ...record, completedAt };
    epochs.saveCompleted(uid, epoch, completedAt).catch((error: unknown) => {
      logger.warn('completion is not kept and is tried again', { uid, epoch, error });
      if (memory.record?.uid !== uid || memory.record.epoch !== epoch) return;
      const { completedAt: _unkept, ...open } = memory.record;
      memory.record = open;
      failed(key);
    });
  }
}
