/** What is done for a Distribution that is being deleted, before its object may go. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { failedItsDigest } from '../../policies/graves.ts';
import type { Coordinator, EpochStore } from '../dataSide.ts';
import type { Graveyard } from './graveyard.ts';
import type { Memory } from './memory.ts';

export interface RemovalDependencies {
  readonly coordinator: Pick<Coordinator, 'remove' | 'removed' | 'missing' | 'progress'>;
  readonly epochs: Pick<EpochStore, 'delete'>;
  readonly graveyard: Pick<Graveyard, 'bury' | 'drop'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Processes that answer confirm within seconds; what cannot must not keep the object alive. */
export const WAIT_MS = 60_000;

/**
 * For who does not know since when it is waited for: by the API server's clock and this one. Where
 * they are apart the files of one that was just deleted may stay, too.
 */
export function isOverdue({ deletionTimestamp }: Distribution['metadata'], nowMs: number): boolean {
  return deletionTimestamp !== undefined && nowMs - Date.parse(deletionTimestamp) >= WAIT_MS;
}

export class Removal {
  readonly #deps: RemovalDependencies;

  constructor(dependencies: RemovalDependencies) {
    this.#deps = dependencies;
  }

  /**
   * True when the object may go: nobody works on it, and what is to become of its files is durable,
   * or a minute has passed. Files go only if the policy says so. Rejects while the database is away.
   */
  async step(key: string, { spec }: Distribution, memory: Memory): Promise<boolean> {
    const { clock, coordinator, graveyard, logger } = this.#deps;
    const { deletionPolicy, deletionGraceSeconds, target } = spec;
    const { record, uid } = memory;
    const deletes = deletionPolicy === 'Delete';
    const isAtOnce = deletes && deletionGraceSeconds === 0;
    memory.removingSinceMs ??= clock.now();
    const isLate = clock.now() - memory.removingSinceMs >= WAIT_MS;
    let isDurable = true;
    if (deletes && record !== undefined) {
      const graceMs = deletionGraceSeconds * 1000;
      const isWrong = failedItsDigest(record, coordinator.progress(uid));
      isDurable = await this.#unlessLate(isLate, key, async () => {
        await graveyard.bury(record, target.path, graceMs, { isWrong });
        memory.isBuried = true;
      });
    }
    // Not before it is written down: the next leader goes by that.
    coordinator.remove(uid, { deleteFiles: isAtOnce && isDurable });
    const removed = coordinator.removed(uid);
    if (!removed && !isLate) return false;
    if (!removed) logger.warn('deleted without every confirmation', { distribution: key });
    // What is in its grave stays in the store, too, until its files are gone: also those of nodes
    // that are away.
    const isGone = removed && coordinator.missing(uid)?.length === 0;
    if (!deletes || (isAtOnce && isGone))
      await this.#unlessLate(isLate, key, () => this.#erase(uid));
    return true;
  }

  /**
   * A database that is away does not keep the object alive for ever: then the files stay, and the
   * answer is false.
   */
  async #unlessLate(isLate: boolean, key: string, act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      if (!isLate) throw error;
      const fields = { distribution: key, error };
      this.#deps.logger.warn('deleted without the database: its files stay on the nodes', fields);
      return false;
    }
  }

  async #erase(uid: string): Promise<void> {
    await this.#deps.epochs.delete(uid);
    this.#deps.graveyard.drop(uid);
  }
}
