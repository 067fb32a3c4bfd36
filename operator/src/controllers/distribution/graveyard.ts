/**
 * Deleted Distributions whose files stay for a grace, or until the agents that have them were told.
 * What stands here stands in the store: another leader goes on with it, and a store that was
 * restored empty deletes nothing.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Logger } from 'winston';
import {
  decideGrave,
  heritageOf,
  isInTheWay,
  type Namespace,
  type Place,
} from '../../policies/graves.ts';
import type { Coordinator, EpochRecord, EpochStore, Grave, Plot } from '../dataSide.ts';

export interface GraveyardDependencies {
  readonly epochs: EpochStore;
  readonly coordinator: Pick<Coordinator, 'remove' | 'missing'>;
  readonly nodeExists: (name: string) => boolean;
  readonly namespaceOf: (name: string) => Namespace | undefined;
  readonly clock: Clock;
  /** RFC 3339, UTC. */
  wallTime(): string;
  readonly logger: Logger;
}

const SWEEP_MS = 1_000;

export class Graveyard {
  readonly #deps: GraveyardDependencies;
  readonly #graves = new Map<string, Grave>();
  readonly #told = new Set<string>();
  #timer: Timer | undefined;
  #isStopped = false;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(dependencies: GraveyardDependencies) {
    this.#deps = dependencies;
  }

  /** What leaders before this one have buried. */
  async load(): Promise<void> {
    for (const grave of await this.#deps.epochs.graves()) this.#graves.set(grave.uid, grave);
  }

  /** Every Distribution that could adopt has been looked at. */
  start(): void {
    if (this.#isStopped) return;
    this.#timer ??= this.#deps.clock.setTimer(SWEEP_MS, () => {
      this.#timer = undefined;
      this.#sweeping = this.#sweep().finally(() => this.start());
    });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#sweeping;
  }

  /**
   * Durable when it resolves. Nobody adopts what is wrong, nor what has no grace: of that the caller
   * tells the agents.
   */
  async bury(
    record: EpochRecord,
    path: string,
    graceMs: number,
    { isWrong = false } = {},
  ): Promise<void> {
    const { uid, owner = uid, namespace } = record;
    if (this.#graves.has(uid)) return;
    const condemned = isWrong || graceMs === 0;
    const namespaceUid = this.#deps.namespaceOf(namespace)?.uid;
    const plot: Plot = {
      path,
      dueAtMs: this.#nowMs() + graceMs,
      condemned,
      ...(namespaceUid !== undefined && { namespaceUid }),
    };
    await this.#deps.epochs.bury(uid, plot);
    this.#graves.set(uid, { uid, owner, namespace, ...plot });
  }

  /** Of the Distribution of this uid, that an earlier leader has buried. */
  graveOf(owner: string): Grave | undefined {
    return [...this.#graves.values()].find((grave) => grave.owner === owner);
  }

  /** The epoch that a Distribution at this path takes over, in its name now. */
  async adopt(
    heir: { readonly owner: string; readonly name: string },
    namespace: string,
    path: string,
  ): Promise<EpochRecord | undefined> {
    const place = { namespace, namespaceUid: this.#deps.namespaceOf(namespace)?.uid, path };
    const grave = heritageOf(this.#graves.values(), place);
    if (grave === undefined) {
      this.#makeWay(place);
      return undefined;
    }
    const { epochs } = this.#deps;
    const record = await epochs.adopt(grave.uid, heir);
    this.drop(grave.uid);
    return record;
  }

  /** Its files are gone, and its row. */
  drop(uid: string): void {
    this.#graves.delete(uid);
    this.#told.delete(uid);
  }

  /** The path is wanted for something else: nobody will adopt these. */
  #makeWay(place: Place): void {
    for (const grave of this.#graves.values()) {
      if (!isInTheWay(grave, place)) continue;
      const dueAtMs = Math.min(grave.dueAtMs, this.#nowMs());
      this.#graves.set(grave.uid, { ...grave, dueAtMs });
    }
  }

  async #sweep(): Promise<void> {
    for (const grave of [...this.#graves.values()]) {
      try {
        await this.#look(grave);
      } catch (error) {
        this.#deps.logger.warn('files of a deleted distribution wait', { uid: grave.uid, error });
      }
    }
  }

  async #look(grave: Grave): Promise<void> {
    const { coordinator, epochs, logger, namespaceOf, nodeExists } = this.#deps;
    const { uid } = grave;
    const isTold = this.#told.has(uid);
    const missing = isTold ? coordinator.missing(uid) : undefined;
    const nowMs = this.#nowMs();
    const namespace = namespaceOf(grave.namespace);
    switch (decideGrave({ grave, namespace, nowMs, isTold, missing, nodeExists })) {
      case 'wait':
        return;
      case 'tell': {
        // Before an agent hears of it: from here on nobody may count on the files. What was in the
        // way, or had no heirs, had a grace: the next leader is not to wait for it.
        const dueAtMs = Math.min(grave.dueAtMs, nowMs);
        if (!(await epochs.condemn(uid, dueAtMs))) return this.drop(uid);
        this.#graves.set(uid, { ...grave, condemned: true, dueAtMs });
        this.#told.add(uid);
        coordinator.remove(uid, { deleteFiles: true });
        logger.info('files of a deleted distribution go', { uid });
        return;
      }
      case 'forget':
        await epochs.delete(uid);
        this.drop(uid);
        logger.info('a deleted distribution is forgotten', { uid, missing: missing?.length });
    }
  }

  #nowMs(): number {
    return Date.parse(this.#deps.wallTime());
  }
}
