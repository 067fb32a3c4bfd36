import type { Collection, Db, Filter, UpdateFilter } from 'mongodb';
import type { EpochRecord, EpochStore, Grave, Plot } from '../controllers/dataSide.ts';
import { isDuplicate } from './databaseError.ts';
import { inTime } from './inTime.ts';
import { type Schema, schema, type Versioned } from './schema.ts';

/** A read of them all, and a leader waits for it. */
const MIGRATION_TIMEOUT_MS = 10_000;
const DURABLE = { writeConcern: { w: 'majority' as const, journal: true } };

/** What outlives a leader of whose word counts. */
export interface RevocationStore {
  saveRevoked(uid: string, epoch: number, pullerKeys: readonly string[]): Promise<void>;
}

interface EpochRow extends EpochRecord, Versioned {
  /** The record's uid: its newest epoch. */
  readonly _id: string;
  /** Its Distribution is deleted. */
  readonly plot?: Plot;
}

/** Another leader has written an epoch of this number, or a later one: whoever writes this leads no more. */
export class SupersededError extends Error {
  readonly code = 'Superseded';

  constructor(uid: string, epoch: number) {
    super(`distribution ${uid} has had another epoch ${epoch} since: another replica leads`);
    this.name = 'SupersededError';
  }
}

const LIVING: Filter<EpochRow> = { plot: { $exists: false } };

/**
 * One document a distribution, so that each turn of its life is one atomic write. Of what a newer
 * release has written nothing is changed or deleted, and to read it is refused. What each
 * distribution's beginning waits for is by an id and nothing else: FerretDB reads the whole
 * collection otherwise.
 */
export class MongoEpochStore implements EpochStore, RevocationStore {
  readonly #rows: Collection<EpochRow>;
  readonly #schema: Schema;
  /** By Distribution, the records that were adopted; undefined: not read yet. */
  #adopted: ReadonlyMap<string, string> | undefined;
  /** By id, the swarms of writes whose answer was lost: they may be in the database. */
  readonly #tried = new Map<string, ReadonlySet<string>>();

  constructor(database: Db, ours: Schema = schema) {
    this.#rows = database.collection('distributions');
    this.#schema = ours;
  }

  /**
   * Brings what another release has written to the version that is written here: a turn changes a
   * part of a document. Rejects with a NewerSchemaError when there is one of a release to come.
   */
  async migrate(): Promise<void> {
    const found = this.#rows.find({ schema: { $ne: this.#schema.written } }).toArray();
    const others = await inTime(MIGRATION_TIMEOUT_MS, found);
    for (const row of others) {
      const change = changeOf(row, this.#schema.stamp('distributions', this.#rowOf(row)));
      const readable = { _id: row._id, ...this.#schema.readable };
      await inTime(MIGRATION_TIMEOUT_MS, this.#rows.updateOne(readable, change, DURABLE));
    }
  }

  async load(owner: string): Promise<EpochRecord | undefined> {
    const adopted = (await this.#adoptedRecords()).get(owner);
    const ofOwner = adopted === undefined ? undefined : await this.#find(adopted, owner);
    return ofOwner ?? (await this.#find(owner, owner));
  }

  /**
   * Over an older epoch, and over itself, and nothing else: a leader that was frozen since it asked
   * the origin would write its keys under the number that the next one has told processes of. Rejects
   * with a SupersededError.
   */
  async save(record: EpochRecord): Promise<void> {
    const { uid: _id, swarmId } = record;
    const swarms = new Set([...(this.#tried.get(_id) ?? []), swarmId]);
    this.#tried.set(_id, swarms);
    if (!(await this.#insert(record))) await this.#replace(record, [...swarms]);
    this.#tried.delete(_id);
  }

  /** False: there is one. */
  async #insert(record: EpochRecord): Promise<boolean> {
    const { uid: _id } = record;
    const before = await this.#rows.findOne({ _id }, { projection: { schema: 1 } });
    if (before !== null) {
      this.#schema.check(`distribution ${_id}`, before.schema ?? 0);
      return false;
    }
    try {
      await this.#rows.insertOne({ _id, ...this.#schema.stamp('distributions', record) }, DURABLE);
      return true;
    } catch (error) {
      if (isDuplicate(error)) return false;
      throw error;
    }
  }

  async #replace(record: EpochRecord, swarms: readonly string[]): Promise<void> {
    const { uid: _id, epoch, owner = _id } = record;
    const ours: Filter<EpochRow> = {
      _id,
      ...this.#schema.readable,
      owner: owner === _id ? { $in: [_id, null] } : owner,
      $or: [
        { epoch: { $lt: epoch } },
        { epoch, swarmId: { $in: [...swarms] } },
        // Of a cluster that was restored from a backup: what is deleted here is alive there.
        { plot: { $exists: true } },
      ],
    } as Filter<EpochRow>;
    const row = this.#schema.stamp('distributions', record);
    const { matchedCount } = await this.#rows.replaceOne(ours, row, DURABLE);
    if (matchedCount > 0) return;
    const found = await this.#rows.findOne({ _id }, { projection: { owner: 1 } });
    // Not by another leader: one that starts anew would find the same.
    if (found !== null && (found.owner ?? _id) !== owner) {
      throw new Error(`the data of ${_id} are those of distribution ${found.owner}`);
    }
    throw new SupersededError(_id, epoch);
  }

  /** The whole list, of that epoch if it is the newest still. */
  async saveRevoked(uid: string, epoch: number, pullerKeys: readonly string[]): Promise<void> {
    const change = { $set: { revokedPullers: [...pullerKeys] } };
    await this.#rows.updateOne({ _id: uid, epoch, ...this.#schema.readable }, change, DURABLE);
  }

  async saveMirrors(
    uid: string,
    epoch: number,
    { mirrors = [], droppedMirrors = [] }: Pick<EpochRecord, 'mirrors' | 'droppedMirrors'>,
  ): Promise<void> {
    const change = { $set: { mirrors, droppedMirrors } };
    await this.#rows.updateOne({ _id: uid, epoch, ...this.#schema.readable }, change, DURABLE);
  }

  async saveCompleted(uid: string, epoch: number, completedAt: string): Promise<void> {
    const change = { $set: { completedAt } };
    await this.#rows.updateOne({ _id: uid, epoch, ...this.#schema.readable }, change, DURABLE);
  }

  async delete(uid: string): Promise<void> {
    await this.#rows.deleteOne({ _id: uid, ...this.#schema.readable }, DURABLE);
  }

  async living(): Promise<{ uid: string; owner: string }[]> {
    const rows = await this.#rows.find(LIVING, { projection: { _id: 1, owner: 1 } }).toArray();
    const living = rows.map(({ _id, owner = _id }) => ({ uid: _id, owner }));
    const adopted = living.filter(({ uid, owner }) => uid !== owner);
    this.#adopted = new Map(adopted.map(({ uid, owner }) => [owner, uid]));
    return living;
  }

  async bury(uid: string, plot: Plot): Promise<void> {
    const living = { ...LIVING, ...this.#schema.readable, _id: uid };
    await this.#rows.updateOne(living, { $set: { plot } }, DURABLE);
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
      { _id: uid, 'plot.condemned': false, ...this.#schema.readable },
      // The heir may be for other nodes: to those it is not delivered yet.
      { $set: { owner, name, unproven: true }, $unset: { plot: '', completedAt: '' } },
      { returnDocument: 'after', ...DURABLE },
    );
    // Once more, when the answer of the first time was lost: then it is the heir's already.
    const record = row === null ? await this.#find(uid, owner) : this.#recordOf(row);
    const adopted = await this.#adoptedRecords();
    if (record !== undefined) this.#adopted = new Map([...adopted, [owner, uid]]);
    return record;
  }

  async condemn(uid: string, dueAtMs: number): Promise<boolean> {
    const change = { $set: { 'plot.condemned': true, 'plot.dueAtMs': dueAtMs } };
    const { matchedCount } = await this.#rows.updateOne(
      { _id: uid, plot: { $exists: true }, ...this.#schema.readable },
      change,
      DURABLE,
    );
    return matchedCount > 0;
  }

  async #adoptedRecords(): Promise<ReadonlyMap<string, string>> {
    if (this.#adopted === undefined) await this.living();
    return this.#adopted ?? new Map();
  }

  /** The record of this id, if it is that Distribution's. */
  async #find(_id: string, owner: string): Promise<EpochRecord | undefined> {
    const row = await this.#rows.findOne({ _id });
    const isOwn = row !== null && row.plot === undefined && (row.owner ?? _id) === owner;
    return isOwn ? this.#recordOf(row) : undefined;
  }

  #recordOf(row: EpochRow): EpochRecord {
    const { _id, plot, ...record } = this.#rowOf(row);
    return record;
  }

  /** Throws a NewerSchemaError. */
  #rowOf(row: EpochRow): EpochRow {
    return this.#schema.read<EpochRow>('distributions', `distribution ${row._id}`, row);
  }
}

/** Field by field: a leader of the past may change others meanwhile. */
function changeOf(before: EpochRow, after: EpochRow): UpdateFilter<EpochRow> {
  const [old, now] = [new Map(Object.entries(before)), new Map(Object.entries(after))];
  const isNew = ([name, value]: [string, unknown]) =>
    JSON.stringify(old.get(name)) !== JSON.stringify(value);
  const gone = [...old.keys()].filter((name) => !now.has(name)).map((name) => [name, '']);
  const set = { $set: Object.fromEntries([...now].filter(isNew)) };
  const unset = gone.length > 0 && { $unset: Object.fromEntries(gone) };
  return { ...set, ...unset } as UpdateFilter<EpochRow>;
}
