import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Logger } from 'winston';
import type { Assignment, AssignmentStore } from '../store/assignments.ts';
import { NestedMap } from './nestedMap.ts';

export interface AssignmentWriterDependencies {
  readonly assignments: AssignmentStore;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Logger;
}

interface Written {
  readonly row: Assignment;
  readonly atMs: number;
}

/** How far a node is, its agent tells the next leader: thousands of rows a second are not worth it. */
const SAME_STATE_MS = 30_000;
/** What the database did not answer in time it may do later, over a newer row. */
const DOUBT_MS = 30_000;

/**
 * Rows of nodes' progress on their way to the database: the newest of each node, many at once. One
 * turn is under way at most, and one waits: while the database is away nothing piles up.
 */
export class AssignmentWriter {
  readonly #deps: AssignmentWriterDependencies;
  /** By distribution and node. */
  readonly #unsaved = new NestedMap<string, Assignment>();
  /** The same: what was written last. */
  #written = new NestedMap<string, Written>();
  /** By distribution: nodes whose rows are to go. */
  readonly #gone = new Map<string, Set<string>>();
  #turn: Promise<void> = Promise.resolve();
  #isWaiting = false;
  #isLast = false;
  #doubtUntilMs = Number.NEGATIVE_INFINITY;
  #isWanted: (uid: string) => boolean = () => false;

  constructor(dependencies: AssignmentWriterDependencies) {
    this.#deps = dependencies;
  }

  note(row: Assignment): void {
    const { uid, node } = row;
    const before = this.#written.get(uid, node)?.row;
    const isKnown = before !== undefined && JSON.stringify(before) === JSON.stringify(row);
    if (!isKnown || this.#unsaved.get(uid, node) !== undefined) this.#unsaved.set(uid, node, row);
  }

  /** Rows of nodes that have nothing of it any more. */
  deleteNodes(uid: string, nodes: readonly string[]): void {
    if (nodes.length === 0) return;
    for (const node of nodes) {
      this.#unsaved.delete(uid, node);
      this.#written.delete(uid, node);
    }
    this.#gone.set(uid, new Set([...(this.#gone.get(uid) ?? []), ...nodes]));
    void this.#ask();
  }

  clear(): void {
    this.#unsaved.clear();
    // Another one: what a save under way has written is not to be in it.
    this.#written = new NestedMap();
    this.#gone.clear();
    this.#isLast = false;
    this.#isWanted = () => false;
  }

  /** `isWanted`: whether rows of a distribution that could not be written are to be tried again. */
  save(isWanted: (uid: string) => boolean): void {
    this.#isWanted = isWanted;
    if (this.#unsaved.size + this.#gone.size > 0) void this.#ask();
  }

  /** Everything that is known now; what cannot be written is known to agents still. */
  flush(): Promise<void> {
    this.#isWanted = () => false;
    this.#isLast = true;
    return this.#ask();
  }

  /** All rows of a distribution that is gone. */
  async delete(uid: string): Promise<void> {
    this.#forgetAll(uid);
    await this.#turn;
    this.#forgetAll(uid);
    await this.#deps.assignments.delete(uid);
  }

  #forgetAll(uid: string): void {
    this.#gone.delete(uid);
    this.#unsaved.deleteAll(uid);
    this.#written.deleteAll(uid);
  }

  /**
   * One after the other: an older state must not overtake a newer one, nor a deletion. The one that
   * waits takes what there is when it begins. Never rejects.
   */
  #ask(): Promise<void> {
    if (this.#isWaiting) return this.#turn;
    this.#isWaiting = true;
    this.#turn = this.#turn.then(async () => {
      this.#isWaiting = false;
      if (await this.#deleteGone()) await this.#saveDue();
    });
    return this.#turn;
  }

  /** False: the database does not do it now. */
  async #deleteGone(): Promise<boolean> {
    for (const [uid, nodes] of this.#gone) {
      this.#gone.delete(uid);
      try {
        await this.#deps.assignments.deleteNodes(uid, [...nodes]);
      } catch (error) {
        // What stays is found again by the next leader, which tries the same.
        this.#deps.logger.warn('assignments cannot be deleted', { uid, error });
        return false;
      }
    }
    return true;
  }

  async #saveDue(): Promise<void> {
    const { assignments, clock, logger } = this.#deps;
    const written = this.#written;
    const rows = [...this.#unsaved.values()];
    const due = rows.filter((row) => this.#isDue(row));
    // Of the last ones what says most comes first: there may be no time for the others.
    const others = this.#isLast ? rows.filter((row) => !this.#isDue(row)) : [];
    const batch = [...due, ...others];
    if (batch.length === 0) return;
    for (const { uid, node } of batch) this.#unsaved.delete(uid, node);
    try {
      await assignments.save(batch);
    } catch (error) {
      this.#doubtUntilMs = clock.now() + DOUBT_MS;
      for (const row of batch) this.#again(row);
      logger.warn('assignments cannot be written', { error });
      return;
    }
    const atMs = clock.now();
    for (const row of batch) {
      if (this.#isGone(row)) continue;
      written.set(row.uid, row.node, { row, atMs });
      if (atMs < this.#doubtUntilMs) this.#again(row);
    }
  }

  #again(row: Assignment): void {
    if (!this.#isWanted(row.uid) || this.#isGone(row)) return;
    const { uid, node } = row;
    if (this.#unsaved.get(uid, node) === undefined) this.#unsaved.set(uid, node, row);
  }

  #isGone({ uid, node }: Assignment): boolean {
    return this.#gone.get(uid)?.has(node) === true;
  }

  #isDue(row: Assignment): boolean {
    const known = this.#written.get(row.uid, row.node);
    if (known === undefined) return true;
    const { row: before, atMs } = known;
    const isSame = before.epoch === row.epoch && before.nodeUid === row.nodeUid;
    if (!isSame || before.progress.state !== row.progress.state) return true;
    return this.#deps.clock.now() - atMs >= SAME_STATE_MS;
  }
}
