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

/**
 * A rollout ends for hundreds within a second. All at once they would take every connection to the
 * database for as long as it needs for them, and no lease would be granted meanwhile.
 */
const AT_ONCE = 2;

export class Completion {
  readonly #deps: CompletionDependencies;
  /** Of each Distribution's data the latest. */
  readonly #waiting = new Map<string, () => Promise<void>>();
  #saving = 0;

  constructor(dependencies: CompletionDependencies) {
    this.#deps = dependencies;
  }

  /** What waits is the next leader's to find. */
  async stop(): Promise<void> {
    this.#waiting.clear();
  }

  /** After what was told. Nobody waits for the database. */
  look(key: string, memory: Memory): void {
    const { record } = memory;
    if (record === undefined || record.completedAt !== undefined) return;
    const { uid, epoch } = record;
    if (!saysDelivered(memory.told, epoch)) return;
    const completedAt = this.#deps.wallTime();
    memory.record = { ...record, completedAt };
    this.#waiting.set(uid, () => this.#save(key, memory, { uid, epoch, completedAt }));
    this.#pump();
  }

  #pump(): void {
    for (const [uid, save] of this.#waiting) {
      if (this.#saving >= AT_ONCE) return;
      this.#waiting.delete(uid);
      this.#saving += 1;
      void save().finally(() => {
        this.#saving -= 1;
        this.#pump();
      });
    }
  }

  async #save(
    key: string,
    memory: Memory,
    { uid, epoch, completedAt }: { uid: string; epoch: number; completedAt: string },
  ): Promise<void> {
    const { epochs, failed, logger } = this.#deps;
    try {
      await epochs.saveCompleted(uid, epoch, completedAt);
    } catch (error) {
      logger.warn('completion is not kept and is tried again', { uid, epoch, error });
      if (memory.record?.uid !== uid || memory.record.epoch !== epoch) return;
      const { completedAt: _unkept, ...open } = memory.record;
      memory.record = open;
      failed(key);
    }
  }
}
