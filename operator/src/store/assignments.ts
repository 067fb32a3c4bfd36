import type { Collection, Db } from 'mongodb';
import type { NodeProgress } from '../controllers/dataSide.ts';
import { inTime } from './inTime.ts';
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

/** For one command: rows that are not written now are written later, and newer ones by then. */
const TIMEOUT_MS = 5_000;

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

  /** What a crash loses here, the agents report again. Rejects with a NewerSchemaError. */
  async save(assignments: readonly Assignment[]): Promise<void> {
    for (let at = 0; at < assignments.length; at += MAX_STATEMENTS) {
      const batch = new Map(
        assignments
          .slice(at, at + MAX_STATEMENTS)
          .map((assignment) => [`${assignment.uid}/${assignment.node}`, assignment] as const),
      );
      await this.#check([...batch.keys()]);
      const replaced = this.#rows.bulkWrite(
        [...batch].map(([_id, assignment]) => ({
          replaceOne: {
            filter: { _id },
            replacement: schema.stamp('assignments', assignment),
            upsert: true,
          },
        })),
        { ordered: false },
      );
      await inTime(TIMEOUT_MS, replaced);
    }
  }

  /**
   * Once for a batch and not in the filter of each row: FerretDB finds a document by its id only
   * when the filter asks for nothing else, and reads the whole collection otherwise.
   */
  async #check(ids: readonly string[]): Promise<void> {
    const newer = { _id: { $in: ids }, schema: { $gt: schema.newest } };
    for (const row of await inTime(TIMEOUT_MS, this.#rows.find(newer).toArray())) {
      schema.check(`assignment ${row._id}`, row.schema ?? 0);
    }
  }

  async delete(uid: string): Promise<void> {
    await this.#rows.deleteMany({ uid, ...READABLE });
  }

  async deleteNodes(uid: string, nodes: readonly string[]): Promise<void> {
    const ids = nodes.map((node) => `${uid}/${node}`);
    await inTime(TIMEOUT_MS, this.#rows.deleteMany({ _id: { $in: ids }, ...READABLE }));
  }
}
