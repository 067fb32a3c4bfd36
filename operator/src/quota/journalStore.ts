/** The journal in MongoDB, or a server that speaks its protocol: plain inserts, finds, deletes. */
import { type Collection, type Db, MongoServerError } from 'mongodb';
import { documentId, type JournalDocument } from './entries.ts';
import { DuplicateDocumentError, type JournalStore, type StoredSnapshot } from './journal.ts';

const DUPLICATE_KEY = 11_000;
/** Under the time to live of a lease: who waits longer asks again. */
const TIMEOUT_MS = 5_000;
/** What a majority has: another primary has it, too. */
const SURE = { readConcern: 'majority' as const, timeoutMS: TIMEOUT_MS };
const DURABLE = { writeConcern: { w: 'majority' as const, journal: true }, timeoutMS: TIMEOUT_MS };

interface BarrierRow {
  readonly _id: string;
  readonly count: number;
}

interface SnapshotRow extends StoredSnapshot {
  readonly _id: string;
}

export class MongoJournalStore implements JournalStore {
  readonly #journal: Collection<JournalDocument>;
  readonly #snapshots: Collection<SnapshotRow>;
  readonly #barriers: Collection<BarrierRow>;

  constructor(database: Db) {
    this.#journal = database.collection('journal');
    this.#snapshots = database.collection('snapshots');
    this.#barriers = database.collection('journalBarriers');
  }

  /** The index that reading from a sequence on needs. */
  async prepare(): Promise<void> {
    await this.#journal.createIndex({ origin: 1, sequence: 1 }, { unique: true });
  }

  async insert(document: JournalDocument, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    try {
      await this.#journal.insertOne({ ...document }, DURABLE);
    } catch (error) {
      if (isDuplicate(error)) {
        throw new DuplicateDocumentError(`${document._id} exists`, { cause: error });
      }
      throw error;
    }
  }

  async find(
    origin: string,
    sequence: number,
    signal: AbortSignal,
  ): Promise<JournalDocument | undefined> {
    signal.throwIfAborted();
    const found = await this.#journal.findOne({ _id: documentId(origin, sequence) }, SURE);
    return found ?? undefined;
  }

  async after(origin: string, sequence: number, signal: AbortSignal): Promise<JournalDocument[]> {
    signal.throwIfAborted();
    return this.#journal
      .find({ origin, sequence: { $gt: sequence } }, SURE)
      .sort({ sequence: 1 })
      .toArray();
  }

  async barrier(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const options = { upsert: true, ...DURABLE };
    await this.#barriers.updateOne({ _id: 'journal' }, { $inc: { count: 1 } }, options);
  }

  async origins(signal: AbortSignal): Promise<string[]> {
    signal.throwIfAborted();
    return this.#journal.distinct('origin', {}, SURE);
  }

  async loadSnapshot(origin: string, signal: AbortSignal): Promise<StoredSnapshot | undefined> {
    signal.throwIfAborted();
    const row = await this.#snapshots.findOne({ _id: origin }, SURE);
    return row ?? undefined;
  }

  async saveSnapshot(snapshot: StoredSnapshot, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { origin, sequence } = snapshot;
    const older = { _id: origin, sequence: { $lt: sequence } };
    try {
      await this.#snapshots.replaceOne(older, snapshot, { upsert: true, ...DURABLE });
    } catch (error) {
      // There is one, and it is not older.
      if (!isDuplicate(error)) throw error;
    }
  }

  async prune(origin: string, sequence: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const old = { origin, sequence: { $lte: sequence }, fence: false };
    await this.#journal.deleteMany(old, { timeoutMS: TIMEOUT_MS });
  }
}

function isDuplicate(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === DUPLICATE_KEY;
}
