/**
 * Lets go of deleted Distributions that have waited for their minute while nobody could lead: the
 * holder of the Lease has no database, and so no plan, no memory and no agents. Their files stay, as
 * those of one that a leader lets go of late; the next leader forgets their rows. A minute, too, since
 * this holder waits: after a pause of the whole cluster the database may be slower than the operator.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { keyOf, type Reflector } from '../../kube/reflector.ts';
import type { Troubles } from '../dataSide.ts';
import { type DistributionApi, FINALIZER } from './api.ts';
import { isOverdue, WAIT_MS } from './removal.ts';

export interface OverdueDependencies {
  readonly distributions: Reflector<Distribution>;
  readonly api: Pick<DistributionApi, 'dropFinalizer'>;
  readonly troubles: Pick<Troubles, 'isDatabaseAway'>;
  readonly clock: Clock;
  /** RFC 3339, UTC. */
  wallTime(): string;
  readonly logger: Logger;
}

const LOOK_MS = 5_000;

export class Overdue {
  readonly #deps: OverdueDependencies;
  #stop: AbortController | undefined;
  #timer: Timer | undefined;
  /** The database has its minute from then on: nobody has waited for it before. */
  #sinceMs = 0;
  #looking: Promise<void> = Promise.resolve();

  constructor(dependencies: OverdueDependencies) {
    this.#deps = dependencies;
  }

  /** Wants a synced reflector. */
  start(): void {
    if (this.#stop !== undefined) return;
    this.#sinceMs = this.#deps.clock.now();
    this.#stop = new AbortController();
    this.#later(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop?.abort();
    this.#stop = undefined;
    this.#timer?.cancel();
    await this.#looking;
  }

  #later(signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#timer = this.#deps.clock.setTimer(LOOK_MS, () => {
      this.#looking = this.#look(signal).finally(() => this.#later(signal));
    });
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { api, clock, distributions, logger, troubles, wallTime } = this.#deps;
    if (clock.now() - this.#sinceMs < WAIT_MS) return;
    const nowMs = Date.parse(wallTime());
    const overdue = [...distributions.list()].filter(
      ({ metadata }) => metadata.finalizers?.includes(FINALIZER) && isOverdue(metadata, nowMs),
    );
    for (const distribution of overdue) {
      if (signal.aborted || !troubles.isDatabaseAway()) return;
      const fields = { distribution: keyOf(distribution) };
      try {
        await api.dropFinalizer(distribution, signal);
        logger.warn('deleted without the database: its files stay on the nodes', fields);
      } catch (error) {
        logger.warn('a deleted distribution is tried again', { ...fields, error });
      }
    }
  }
}
