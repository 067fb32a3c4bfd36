import type { Collection, Db, Filter } from 'mongodb';
import type { EpochRecord, EpochStore, Grave, Plot } from '../controllers/dataSide.ts';

const DURABLE = { writeConcern: { w: 'majority' as const, journal: true } };

/** What outlives a leader of whose word counts. */
export interface RevocationStore {
  saveRevoked(uid: string, epoch: number, pullerKeys: readonly string[]): Promise<void>;
}

interface EpochRow extends EpochRecord {
  /** The record's uid: its newest epoch. */
  readonly _id: string;
  /** Its Distribution is deleted. */
  readonly plot?: Plot;
}

const LIVING: Filter<EpochRow> = { plot: { $exists: false } };

/** One document a distribution, so that each turn of its life is one atomic write. */
export class MongoEpochStore implements EpochStore, RevocationStore {
  readonly #rows: Collection<EpochRow>;

  constructor(database: Db) {
    this.#rows = database.collection('distributions');
  }

  async load(owner: string): Promise<EpochRecord | undefined> {
    const own = { ...LIVING, _id: owner, owner: { $exists: false } };
    const row = (await this.#rows.findOne({ ...LIVING, owner })) ?? (await this.#rows.findOne(own));
    return row === null ? undefined : recordOf(row);
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

  async living(): Promise<{ uid: string; owner: string }[]> {
    const rows = await this.#rows.find(LIVING, { projection: { _id: 1, owner: 1 } }).toArray();
    return rows.map(({ _id, owner = _id }) => ({ uid: _id, owner }));
  }

  async bury(uid: string, plot: Plot): Promise<void> {
    await this.#rows.updateOne({ ...LIVING, _id: uid }, { $set: { plot } }, DURABLE);
  }

  async graves(): Promise<Grave[]> {
    const projection = { _id: 1, owner: 1, namespace: 1, plot: 1 };
    const rows = await this.#rows.find({ plot: { $exists: true } }, { projection }).toArray();
    return rows.map(({ _id, owner = _id, namespace, plot }) => ({
      uid: _id,
      owner,
      namespace,
      ...(plot as Plot),
    }));
  }

  async adopt(
    uid: string,
    { owner, name }: { readonly owner: string; readonly name: string },
  ): Promise<EpochRecord | undefined> {
    const row = await this.#rows.findOneAndUpdate(
      { _id: uid, 'plot.condemned': false },
      { $set: { owner, name, unproven: true }, $unset: { plot: '' } },
      { returnDocument: 'after', ...DURABLE },
    );
    return row === null ? undefined : recordOf(row);
  }

  async condemn(uid: string): Promise<boolean> {
    const change = { $set: { 'plot.condemned': true } };
    const { matchedCount } = await this.#rows.updateOne(
      { _id: uid, plot: { $exists: true } },
      change,
      DURABLE,
    );
    return matchedCount > 0;
  }
}

function recordOf({ _id, plot, ...record }: EpochRow): EpochRecord {
  return record;
}
