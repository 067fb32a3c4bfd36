import type { Binary, Collection, Db } from 'mongodb';
import type { NodeProgress } from '../controllers/dataSide.ts';
import { inTime } from './inTime.ts';
import { pack, unpack } from './packed.ts';
import { type Schema, schema, type Versioned } from './schema.ts';

/** How one epoch stands on one node, as its agent reported last. */
export interface Assignment {
  readonly uid: string;
  readonly epoch: number;
  readonly node: string;
  /** Of the node's object: one that was installed anew has another. Absent in rows from before. */
  readonly nodeUid?: string;
  /**
   * Milliseconds since the Unix epoch: since when it is no target any more. Absent: it is one, or the
   * row is from before, or nobody led when it left.
   */
  readonly leftAtMs?: number;
  readonly progress: Omit<NodeProgress, 'name' | 'connected'>;
}

/**
 * Some nodes of one distribution, in one document (docs/adr/0035). A distribution's are numbered from
 * 0 without a gap, so that all are found by their ids alone; one of them may be empty.
 */
export interface AssignmentShard {
  readonly uid: string;
  readonly number: number;
  readonly rows: readonly Assignment[];
}

export interface AssignmentStore {
  /** In the order of their numbers. Rejects with a NewerSchemaError. */
  load(uid: string): Promise<AssignmentShard[]>;
  /**
   * What a crash loses here, the agents report again. The shards of lower numbers are there. Rejects
   * with a NewerSchemaError.
   */
  save(shard: AssignmentShard): Promise<void>;
  delete(uid: string): Promise<void>;
}

export function rowsIn(shards: readonly AssignmentShard[]): Assignment[] {
  return shards.flatMap(({ rows }) => rows);
}

/** Of one shard: a write is a few KB then, and ten thousand nodes are eighty writes. */
export const SHARD_NODES = 128;
/** For one command: rows that are not written now are written later, and newer ones by then. */
const TIMEOUT_MS = 5_000;
/** So many shards are asked for at once; most distributions have fewer. */
const LOADED_AT_ONCE = 4;
/** A row has some 400 bytes. */
const MAX_SHARD_BYTES = 16 * 1024 * 1024;
/** A read of them all, and a leader waits for it. */
const MIGRATION_TIMEOUT_MS = 10_000;

interface ShardRow extends Omit<AssignmentShard, 'rows'>, Versioned {
  /** `<uid>/<number>` */
  readonly _id: string;
  /** JSON, gzipped: a tenth of what the documents of as many nodes take. */
  readonly rows: Binary;
}

/** Of builds from before the first release: a document for each node. */
interface NodeRow extends Assignment, Versioned {
  /** `<uid>/<node>` */
  readonly _id: string;
}

/**
 * Every look is by an id and nothing else: so FerretDB finds a document, and reads the whole
 * collection otherwise.
 */
export class MongoAssignmentStore implements AssignmentStore {
  readonly #shards: Collection<ShardRow>;
  readonly #nodes: Collection<NodeRow>;
  readonly #schema: Schema;

  constructor(database: Db, ours: Schema = schema) {
    this.#shards = database.collection('assignments');
    this.#nodes = database.collection('assignments');
    this.#schema = ours;
  }

  /** The index that a deletion needs. */
  async prepare(): Promise<void> {
    await this.#shards.createIndex({ uid: 1 });
  }

  /** Brings documents of one node into shards. Rejects with a NewerSchemaError. */
  async migrate(): Promise<void> {
    const found = this.#nodes.find({ node: { $exists: true } }).toArray();
    const rows = await inTime(MIGRATION_TIMEOUT_MS, found);
    const byUid = Map.groupBy(rows, ({ uid }) => uid);
    for (const [uid, own] of byUid) {
      const shards = await this.load(uid);
      const known = new Set(rowsIn(shards).map(({ node }) => node));
      const nodes = own
        .map(({ _id, ...row }) =>
          this.#schema.read<Assignment>('assignments', `assignment ${_id}`, row),
        )
        .filter(({ node }) => !known.has(node));
      for (let at = 0; at < nodes.length; at += SHARD_NODES) {
        const number = shards.length + at / SHARD_NODES;
        await this.save({ uid, number, rows: nodes.slice(at, at + SHARD_NODES) });
      }
      const taken = { uid, node: { $exists: true }, ...this.#schema.readable };
      await inTime(MIGRATION_TIMEOUT_MS, this.#nodes.deleteMany(taken));
    }
  }

  async load(uid: string): Promise<AssignmentShard[]> {
    const shards: AssignmentShard[] = [];
    for (;;) {
      const ids = Array.from({ length: LOADED_AT_ONCE }, (_, at) => idOf(uid, shards.length + at));
      const found = ids.map((_id) => this.#shards.findOne({ _id }));
      for (const row of await inTime(TIMEOUT_MS, Promise.all(found))) {
        if (row === null) return shards;
        shards.push(await this.#shardOf(row));
      }
    }
  }

  async save(shard: AssignmentShard): Promise<void> {
    const _id = idOf(shard.uid, shard.number);
    const row = this.#schema.stamp('assignments', shard);
    const rows = await pack(row.rows);
    const options = { projection: { schema: 1 } };
    const before = await inTime(TIMEOUT_MS, this.#shards.findOne({ _id }, options));
    this.#schema.check(nameOf(_id), before?.schema ?? 0);
    if (before === null) await inTime(TIMEOUT_MS, this.#shards.insertOne({ _id, ...row, rows }));
    else await inTime(TIMEOUT_MS, this.#shards.replaceOne({ _id }, { ...row, rows }));
  }

  async delete(uid: string): Promise<void> {
    await this.#shards.deleteMany({ uid, ...this.#schema.readable });
  }

  /** Throws a NewerSchemaError: how another release writes its rows nobody knows. */
  async #shardOf({ _id, rows, ...row }: ShardRow): Promise<AssignmentShard> {
    this.#schema.check(nameOf(_id), row.schema ?? 0);
    const shard = { ...row, rows: (await unpack(rows, MAX_SHARD_BYTES)) as Assignment[] };
    return this.#schema.read<AssignmentShard>('assignments', nameOf(_id), shard);
  }
}

function idOf(uid: string, number: number): string {
  return `${uid}/${number}`;
}

function nameOf(id: string): string {
  return `the nodes ${id}`;
}
