/**
 * What the database says of all that is in it: the newest version that was ever written there. A
 * replica looks at it before it touches anything, and a leader raises it before it writes.
 */
import type { Collection, Db } from 'mongodb';
import { isDuplicate } from './databaseError.ts';
import { inTime } from './inTime.ts';
import { type Schema, schema } from './schema.ts';

interface MarkRow {
  readonly _id: string;
  readonly version: number;
}

const ID = 'database';
/** The next leader waits for it, and asks again over another connection. */
const TIMEOUT_MS = 5_000;
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
        await inTime(TIMEOUT_MS, this.#rows.insertOne({ _id: ID, version: written }, DURABLE));
      } catch (error) {
        if (!isDuplicate(error)) throw error;
        // Another leader was quicker.
        await this.claim();
      }
    } else if (version < written) {
      const change = { $set: { version: written } };
      await inTime(TIMEOUT_MS, this.#rows.updateOne({ _id: ID, version }, change, DURABLE));
    }
  }

  async #version(): Promise<number | undefined> {
    const row = await inTime(TIMEOUT_MS, this.#rows.findOne({ _id: ID }, SURE));
    this.#schema.check('the database', row?.version ?? 0);
    return row?.version;
  }
}
