import type { Logger } from 'winston';
import type { Assignment, AssignmentStore } from '../store/assignments.ts';

export interface AssignmentWriterDependencies {
  readonly assignments: AssignmentStore;
  readonly logger: Logger;
}

/** Rows of nodes' progress on their way to the database: the newest of each node, many at once. */
export class AssignmentWriter {
  readonly #deps: AssignmentWriterDependencies;
  /** By distribution and node. */
  readonly #unsaved = new Map<string, Assignment>();
  #saving: Promise<void> = Promise.resolve();

  constructor(dependencies: AssignmentWriterDependencies) {
    this.#deps = dependencies;
  }

  note(row: Assignment): void {
    this.#unsaved.set(keyOf(row), row);
  }

  /** Rows of nodes that have nothing of it any more. */
  deleteNodes(uid: string, nodes: readonly string[]): void {
    if (nodes.length === 0) return;
    for (const node of nodes) this.#unsaved.delete(keyOf({ uid, node }));
    const deleted = this.#saving.then(() => this.#deps.assignments.deleteNodes(uid, nodes));
    // What stays is found again by the next leader, which tries the same.
    this.#saving = deleted.catch((error) => {
      this.#deps.logger.warn('assignments cannot be deleted', { uid, error });
    });
  }

  clear(): void {
    this.#unsaved.clear();
  }

  /** `isWanted`: whether rows of a distribution that could not be written are to be tried again. */
  save(isWanted: (uid: string) => boolean): void {
    if (this.#unsaved.size === 0) return;
    const batch = [...this.#unsaved.values()];
    this.#unsaved.clear();
    // One after the other: an older state must not overtake a newer one, nor a deletion.
    const saved = this.#saving.then(() => this.#deps.assignments.save(batch));
    this.#saving = saved.catch((error) => {
      for (const row of batch) {
        if (isWanted(row.uid) && !this.#unsaved.has(keyOf(row))) this.note(row);
      }
      this.#deps.logger.warn('assignments cannot be written', { error });
    });
  }

  /** Everything that is known now; what cannot be written is known to agents still. */
  flush(): Promise<void> {
    this.save(() => false);
    return this.#saving;
  }

  /** All rows of a distribution that is gone. */
  async delete(uid: string): Promise<void> {
    await this.#saving;
    await this.#deps.assignments.delete(uid);
  }
}

function keyOf({ uid, node }: Pick<Assignment, 'uid' | 'node'>): string {
  return `${uid}/${node}`;
}
