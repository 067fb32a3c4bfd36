import type { Collection, Db } from 'mongodb';
import type { EpochRecord, EpochStore } from '../controllers/dataSide.ts';

const DURABLE = { writeConcern: { w: 'majority' as const, journal: true } };

interface EpochRow extends EpochRecord {
  /** The distribution's uid: its newest epoch. */
  readonly _id: string;
}

export class MongoEpochStore implements EpochStore {
  readonly #rows: Collection<EpochRow>;

  constructor(database: Db) {
    this.#rows = database.collection('distributions');
  }

  async load(uid: string): Promise<EpochRecord | undefined> {
    const row = await this.#rows.findOne({ _id: uid });
    if (row === null) return undefined;
    const { _id, ...record } = row;
    return record;
  }

  async save(record: EpochRecord): Promise<void> {
    await this.#rows.replaceOne({ _id: record.uid }, record, { upsert: true, ...DURABLE });
  }

  async delete(uid: string): Promise<void> {
    await this.#rows.deleteOne({ _id: uid }, DURABLE);
  }

  async uids(): Promise<string[]> {
    const rows = await this.#rows.find({}, { projection: { _id: 1 } }).toArray();
    return rows.map(({ _id }) => _id);
  }
}
