import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { WorkMessage } from '@sluice/protocol/messages.ts';
import type { AssignmentWriter } from './assignmentWriter.ts';
import { type FleetProcess, hasRemoved } from './fleetView.ts';
import type { NodeBook } from './nodeBook.ts';

export interface DeparturesDependencies {
  readonly clock: Clock;
  readonly rows: Pick<AssignmentWriter, 'deleteNodes'>;
  readonly uids: () => Iterable<string>;
  readonly book: (uid: string) => NodeBook | undefined;
}

type Removal = Extract<WorkMessage, { type: 'remove' }>;

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
  forgetGone(): void {
    const nodes = this.#nodes;
    if (nodes === undefined) return;
    for (const uid of this.#dependencies.uids()) {
      const book = this.#dependencies.book(uid);
      const gone = book?.leavers().filter((name) => !nodes.has(name)) ?? [];
      for (const name of gone) book?.forgetLeaver(name);
      this.#dependencies.rows.deleteNodes(uid, gone);
    }
  }

  /** Names what each of these processes is to remove now. */
  sendOff(
    processes: readonly FleetProcess[],
    tell: (processId: string, uid: string, removal: Removal) => void,
  ): void {
    const now = this.#dependencies.clock.now();
    for (const uid of this.#dependencies.uids()) {
      const leaving = new Set(this.#dependencies.book(uid)?.leaving(now));
      if (leaving.size === 0) continue;
      for (const { id, kind, node } of processes) {
        if (kind !== 'agent' || !leaving.has(node)) continue;
        tell(id, uid, { type: 'remove', uid, deleteFiles: true });
      }
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
