import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { AssignmentWriter } from './assignmentWriter.ts';
import { type FleetProcess, hasRemoved } from './fleetView.ts';
import type { NodeBook } from './nodeBook.ts';
import type { Removal } from './work.ts';

export interface DeparturesDependencies {
  readonly clock: Clock;
  readonly rows: Pick<AssignmentWriter, 'deleteNodes'>;
  readonly uids: () => Iterable<string>;
  readonly book: (uid: string) => NodeBook | undefined;
}

/**
 * Nodes that are no targets of a distribution any more: their agents are told to delete the files,
 * until they say that they have. The node's row is kept so long, for the next leader to know.
 */
export class Departures {
  readonly #dependencies: DeparturesDependencies;
  /** Undefined: not known yet. */
  #nodes: ReadonlySet<string> | undefined;

  constructor(dependencies: DeparturesDependencies) {
    this.#dependencies = dependencies;
  }

  /** Every node of the cluster. */
  setNodes(names: ReadonlySet<string>): void {
    this.#nodes = names;
    this.forgetGone();
  }

  /** Of a node that is no more nothing is to be removed. */
  forgetGone(uids: Iterable<string> = this.#dependencies.uids()): void {
    const nodes = this.#nodes;
    if (nodes === undefined) return;
    for (const uid of uids) {
      const book = this.#dependencies.book(uid);
      const gone = book?.leavers().filter((name) => !nodes.has(name)) ?? [];
      for (const name of gone) book?.forgetLeaver(name);
      this.#dependencies.rows.deleteNodes(uid, gone);
    }
  }

  /** Names those of these processes that are to remove it now. */
  sendOff(
    uid: string,
    processes: readonly FleetProcess[],
    tell: (process: FleetProcess, removal: Removal) => void,
  ): void {
    const leaving = new Set(this.#dependencies.book(uid)?.leaving(this.#dependencies.clock.now()));
    if (leaving.size === 0) return;
    const removal = { type: 'remove', uid, deleteFiles: true } as const;
    for (const process of processes) {
      if (process.kind === 'agent' && leaving.has(process.node)) tell(process, removal);
    }
  }

  /** An agent has reported: perhaps that it has deleted the files. */
  seeOff(process: FleetProcess, uid: string): void {
    const book = this.#dependencies.book(uid);
    if (book?.isLeaver(process.node) !== true) return;
    if (!hasRemoved(process, { uid, deleteFiles: true })) return;
    book.forgetLeaver(process.node);
    this.#dependencies.rows.deleteNodes(uid, [process.node]);
  }
}
