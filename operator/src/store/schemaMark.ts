/**
 * What the database says of all that is in it: the newest version that was ever written there. A
 * replica looks at it before it touches anything, and a leader raises it before it writes.
 */
import { type Collection, type Db, MongoServerError } from 'mongodb';
import { type Schema, schema } from './schema.ts';

interface MarkRow {
  readonly _id: string;
  readonly version: number;
}

const ID = 'database';
const DUPLICATE_KEY = 11_000;
/** What a majority has: another primary has it, too. */
const SURE = { readConcern: 'majority' as const };
const DURABLE = { writeConcern: { w: 'majority' as const, journal: true } };

export class SchemaMark {
  readonly #rows: Collection<MarkRow>;
  readonly #schema: Schema;

  constructor(database: Db, ours: Schema = schema) {
    this.#rows = database.collection('schema');
    this.#schema = ours;
  }

  /** Rejects with a NewerSchemaError. Changes nothing. */
  async check(): Promise<void> {
    await this.#version();
  }

  /** What is written from now on may be of our version. Rejects like check(). */
  async claim(): Promise<void> {
    const { written } = this.#schema;
    const version = await this.#version();
    if (version === undefined) {
      try {
        await this.#rows.insertOne({ _id: ID, version: written }, DURABLE);
      } catch (error) {
        if (!(error instanceof MongoServerError) || error.code !== DUPLICATE_KEY) throw error;
        // Another leader was quicker.
        await this.claim();
      }
    } else if (version < written) {
      await this.#rows.updateOne({ _id: ID, version }, { $set: { version: written } }, DURABLE);
    }
  }

  async #version(): Promise<number | undefined> {
    const row = await this.#rows.findOne({ _id: ID }, SURE);
    this.#schema.check('the database', row?.version ?? 0);
    return row?.version;
  }
}
