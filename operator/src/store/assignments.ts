import type { Collection, Db } from 'mongodb';
import type { NodeProgress } from '../controllers/dataSide.ts';
import { READABLE, schema, type Versioned } from './schema.ts';

/** How one epoch stands on one node, as its agent reported last. */
export interface Assignment {
  readonly uid: string;
  readonly epoch: number;
  readonly node: string;
  /** Of the node's object: one that was installed anew has another. Absent in rows from before. */
  readonly nodeUid?: string;
  readonly progress: Omit<NodeProgress, 'name' | 'connected'>;
}

/**
 * Of one command. FerretDB holds one of its own connections for each row that a command has found,
 * until all are replaced: with a hundred it waits for itself, and answers nobody any more.
 */
const MAX_STATEMENTS = 50;

interface AssignmentRow extends Assignment, Versioned {
  /** `<uid>/<node>` */
  readonly _id: string;
}

export interface AssignmentStore {
  load(uid: string): Promise<Assignment[]>;
  save(assignments: readonly Assignment[]): Promise<void>;
  delete(uid: string): Promise<void>;
  deleteNodes(uid: string, nodes: readonly string[]): Promise<void>;
}

export class MongoAssignmentStore implements AssignmentStore {
  readonly #rows: Collection<AssignmentRow>;

  constructor(database: Db) {
    this.#rows = database.collection('assignments');
  }

  async prepare(): Promise<void> {
    await this.#rows.createIndex({ uid: 1 });
  }

  async load(uid: string): Promise<Assignment[]> {
    const rows = await this.#rows.find({ uid }).toArray();
    return rows.map((row) => {
      const what = `assignment ${row._id}`;
      const { _id, ...assignment } = schema.read<AssignmentRow>('assignments', what, row);
      return assignment;
    });
  }

  /** What a crash loses here, the agents report again. */
  async save(assignments: readonly Assignment[]): Promise<void> {
    for (let at = 0; at < assignments.length; at += MAX_STATEMENTS) {
      await this.#rows.bulkWrite(
        assignments.slice(at, at + MAX_STATEMENTS).map((assignment) => ({
          replaceOne: {
            filter: { _id: `${assignment.uid}/${assignment.node}`, ...READABLE },
            replacement: schema.stamp('assignments', assignment),
            upsert: true,
          },
        })),
        { ordered: false },
      );
    }
  }

  async delete(uid: string): Promise<void> {
    await this.#rows.deleteMany({ uid, ...READABLE });
  }

  async deleteNodes(uid: string, nodes: readonly string[]): Promise<void> {
    const ids = nodes.map((node) => `${uid}/${node}`);
    await this.#rows.deleteMany({ _id: { $in: ids }, ...READABLE });
  }
}
