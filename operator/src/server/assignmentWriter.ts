import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Logger } from 'winston';
import {
  type Assignment,
  type AssignmentShard,
  type AssignmentStore,
  rowsIn,
} from '../store/assignments.ts';
import { type Haste, NodeRows } from './nodeRows.ts';

export interface AssignmentWriterDependencies {
  readonly assignments: AssignmentStore;
  readonly clock: Pick<Clock, 'now'>;
  readonly logger: Logger;
}

/** Of one distribution. */
interface Kept {
  /** Undefined: what the database has of it was not read yet. */
  rows: NodeRows | undefined;
  /** Noted before that, in order; undefined: it is to go. */
  readonly early: Map<string, Assignment | undefined>;
  /** In the next turn every change of state is written. */
  isUrgent: boolean;
}

/** What the database did not answer in time it may do later, over a newer row. */
const DOUBT_MS = 30_000;

/**
 * Rows of nodes' progress on their way to the database: the newest of each node, many in one
 * document. One turn is under way at most, and one waits: while the database is away nothing piles
 * up. In a turn one document is written after the other, so that what a reconciliation or a lease
 * waits for never waits behind many.
 */
export class AssignmentWriter {
  readonly #deps: AssignmentWriterDependencies;
  readonly #kept = new Map<string, Kept>();
  #turn: Promise<void> = Promise.resolve();
  #isWaiting = false;
  #isLast = false;
  #doubtUntilMs = Number.NEGATIVE_INFINITY;
  #isWanted: (uid: string) => boolean = () => false;

  constructor(dependencies: AssignmentWriterDependencies) {
    this.#deps = dependencies;
  }

  /** What an earlier leader has left. Nothing of the distribution is written before it is known. */
  async recall(uid: string): Promise<Assignment[]> {
    const kept = this.#keep(uid);
    const shards = await this.#deps.assignments.load(uid);
    // Not if it was forgotten meanwhile, or read by somebody else.
    if (this.#kept.get(uid) === kept) kept.rows ??= rowsFrom(uid, shards, kept.early);
    return rowsIn(shards);
  }

  note(row: Assignment): void {
    const { rows, early } = this.#keep(row.uid);
    if (rows === undefined) early.set(row.node, row);
    else rows.note(row);
  }

  /** Nodes that have nothing of it any more. */
  deleteNodes(uid: string, nodes: readonly string[]): void {
    if (nodes.length === 0) return;
    const kept = this.#keep(uid);
    kept.isUrgent = true;
    for (const node of nodes) {
      if (kept.rows === undefined) kept.early.set(node, undefined);
      else kept.rows.delete(node);
    }
    void this.#ask();
  }

  /**
   * Nodes that are no targets any more since then (Unix epoch), or are again. Before the rows are
   * read nobody has left whom they would name.
   */
  setLeft(uid: string, nodes: Iterable<string>, leftAtMs: number | undefined): void {
    for (const node of nodes) this.#kept.get(uid)?.rows?.setLeft(node, leftAtMs);
  }

  clear(): void {
    this.#kept.clear();
    this.#isLast = false;
    this.#isWanted = () => false;
  }

  /**
   * `isWanted`: whether a distribution's rows are kept here when they are written, or cannot be;
   * `urgent`: of which every change of state is written now.
   */
  save(isWanted: (uid: string) => boolean, urgent?: string): void {
    this.#isWanted = isWanted;
    const kept = urgent === undefined ? undefined : this.#kept.get(urgent);
    if (kept !== undefined) kept.isUrgent = true;
    if (this.#kept.size > 0) void this.#ask();
  }

  /** Everything that is known now; what cannot be written is known to agents still. */
  flush(): Promise<void> {
    this.#isWanted = () => false;
    this.#isLast = true;
    return this.#ask();
  }

  /** All rows of a distribution that is gone. */
  async delete(uid: string): Promise<void> {
    this.#kept.delete(uid);
    await this.#turn;
    this.#kept.delete(uid);
    await this.#deps.assignments.delete(uid);
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
      // Of the last ones what says most comes first: there may be no time for the others.
      const isSaved = await this.#saveAll(this.#isLast ? 'urgent' : 'usual');
      if (isSaved && this.#isLast) await this.#saveAll('last');
    });
    return this.#turn;
  }

  /** False: the database does not do it now. */
  async #saveAll(haste: Haste): Promise<boolean> {
    for (const [uid, kept] of [...this.#kept]) {
      const isSaved = await this.#save(uid, kept, haste);
      const isOver = !isSaved || haste !== 'urgent';
      if (isOver && this.#kept.get(uid) === kept && !this.#isWanted(uid)) this.#kept.delete(uid);
      if (isSaved) continue;
      this.#toTheEnd(uid);
      return false;
    }
    return true;
  }

  /** What fails is tried after the others. */
  #toTheEnd(uid: string): void {
    const kept = this.#kept.get(uid);
    if (kept === undefined) return;
    this.#kept.delete(uid);
    this.#kept.set(uid, kept);
  }

  async #save(uid: string, kept: Kept, usual: Haste): Promise<boolean> {
    const { assignments, clock, logger } = this.#deps;
    // Of what is not kept nothing is written later.
    const isUrgent = kept.isUrgent || !this.#isWanted(uid);
    const haste = isUrgent && usual === 'usual' ? 'urgent' : usual;
    kept.isUrgent = false;
    const isForgotten = () => this.#kept.get(uid) !== kept;
    try {
      if (kept.rows === undefined && kept.early.size > 0) await this.recall(uid);
    } catch (error) {
      kept.isUrgent = isUrgent;
      logger.warn('assignments cannot be read', { uid, error });
      return false;
    }
    const { rows } = kept;
    // Each once: while thousands of nodes go on, the first would be due again before the last was.
    for (const number of rows?.due(clock.now(), haste) ?? []) {
      if (rows === undefined || isForgotten()) break;
      try {
        await assignments.save(rows.take(number));
      } catch (error) {
        this.#doubtUntilMs = clock.now() + DOUBT_MS;
        rows.failed(number);
        kept.isUrgent = isUrgent;
        logger.warn('assignments cannot be written', { uid, error });
        return false;
      }
      const now = clock.now();
      rows.written(number, now, now < this.#doubtUntilMs);
    }
    return true;
  }

  #keep(uid: string): Kept {
    let kept = this.#kept.get(uid);
    if (kept === undefined) {
      kept = { rows: undefined, early: new Map(), isUrgent: false };
      this.#kept.set(uid, kept);
    }
    return kept;
  }
}

function rowsFrom(
  uid: string,
  stored: readonly AssignmentShard[],
  early: Map<string, Assignment | undefined>,
): NodeRows {
  const rows = new NodeRows(uid, stored);
  for (const [node, row] of early) {
    if (row === undefined) rows.delete(node);
    else rows.note(row);
  }
  early.clear();
  return rows;
}
