import type { Collection, Db } from 'mongodb';
import type { EpochRecord, EpochStore } from '../controllers/dataSide.ts';

const DURABLE = { writeConcern: { w: 'majority' as const, journal: true } };

/** What outlives a leader of whose word counts. */
export interface RevocationStore {
  saveRevoked(uid: string, epoch: number, pullerKeys: readonly string[]): Promise<void>;
}

interface EpochRow extends EpochRecord {
  /** The distribution's uid: its newest epoch. */
  readonly _id: string;
}

export class MongoEpochStore implements EpochStore, RevocationStore {
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

  /** The whole list, of that epoch if it is the newest still. */
  async saveRevoked(uid: string, epoch: number, pullerKeys: readonly string[]): Promise<void> {
    const change = { $set: { revokedPullers: [...pullerKeys] } };
    await this.#rows.updateOne({ _id: uid, epoch }, change, DURABLE);
  }

  async delete(uid: string): Promise<void> {
    await this.#rows.deleteOne({ _id: uid }, DURABLE);
  }

  async uids(): Promise<string[]> {
    const rows = await this.#rows.find({}, { projection: { _id: 1 } }).toArray();
    return rows.map(({ _id }) => _id);
  }
}
