/**
 * The journal in MongoDB, or a server that speaks its protocol: plain inserts, finds, deletes.
 * Entries are kept as JSON, a document's all together: that takes both sides a fraction of the time
 * that hundreds of nested fields take, and nobody queries for one of them. Gzipped they are a tenth:
 * that is what the database writes, copies to its replicas, and reads for the next leader.
 */
import type { Binary, Collection, Db } from 'mongodb';
import { isDuplicate } from '../store/databaseError.ts';
import { inTime } from '../store/inTime.ts';
import { pack, unpack } from '../store/packed.ts';
import { type Schema, schema, type Versioned } from '../store/schema.ts';
import { documentId, type Entry, type JournalDocument } from './entries.ts';
import {
  type Authorship,
  DuplicateDocumentError,
  JournalError,
  type JournalStore,
  type StoredSnapshot,
} from './journal.ts';
import type { LedgerSnapshot } from './ledger.ts';

/** Under the time to live of a lease: who waits longer asks again. */
const TIMEOUT_MS = 5_000;
/** What a majority has: another primary has it, too. */
const SURE = { readConcern: 'majority' as const };
const DURABLE = { writeConcern: { w: 'majority' as const, journal: true } };

interface BarrierRow {
  readonly _id: string;
  readonly count: number;
}

interface JournalRow extends Omit<JournalDocument, 'entries'>, Versioned {
  /** JSON, gzipped; plain text in databases of builds from before the first release. */
  readonly entries: Binary | string;
}

interface SnapshotRow extends Omit<StoredSnapshot, 'ledger'>, Versioned {
  readonly _id: string;
  /** JSON, gzipped: ten thousand leases with many extents fit into a document of 16 MiB. */
  readonly ledger: Binary;
}

/** For each batch; a server without the index sorts all of it before the first one. */
const READ_TIMEOUT_MS = 30_000;
const BATCH_DOCUMENTS = 16;
/** A document of the journal has 1 MiB of entries or so, or a single one that is longer. */
const MAX_ENTRIES_BYTES = 16 * 1024 * 1024;
const MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024;

export class MongoJournalStore implements JournalStore {
  readonly #journal: Collection<JournalRow>;
  readonly #snapshots: Collection<SnapshotRow>;
  readonly #barriers: Collection<BarrierRow>;
  readonly #schema: Schema;

  constructor(database: Db, ours: Schema = schema) {
    this.#journal = database.collection('journal');
    this.#snapshots = database.collection('snapshots');
    this.#barriers = database.collection('journalBarriers');
    this.#schema = ours;
  }

  /** The index that reading from a sequence on needs. */
  async prepare(): Promise<void> {
    await this.#journal.createIndex({ origin: 1, sequence: 1 }, { unique: true });
  }

  async insert(document: JournalDocument, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    try {
      await inTime(TIMEOUT_MS, this.#journal.insertOne(await this.#rowOf(document), DURABLE));
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
  ): Promise<Authorship | undefined> {
    signal.throwIfAborted();
    const options = { projection: { nonce: 1 }, ...SURE };
    const _id = documentId(origin, sequence);
    const found = await inTime(TIMEOUT_MS, this.#journal.findOne({ _id }, options));
    return found === null ? undefined : { nonce: found.nonce };
  }

  async *after(
    origin: string,
    sequence: number,
    signal: AbortSignal,
  ): AsyncGenerator<JournalDocument, void, undefined> {
    signal.throwIfAborted();
    const after = { origin, sequence: { $gt: sequence } };
    const options = { ...SURE, batchSize: BATCH_DOCUMENTS };
    const cursor = this.#journal.find(after, options).sort({ sequence: 1 });
    try {
      for (;;) {
        const row = await inTime(READ_TIMEOUT_MS, cursor.next());
        if (row === null) return;
        signal.throwIfAborted();
        yield await this.#documentOf(row);
      }
    } finally {
      cursor.close().catch(() => {});
    }
  }

  async barrier(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const options = { upsert: true, ...DURABLE };
    const more = { $inc: { count: 1 } };
    await inTime(TIMEOUT_MS, this.#barriers.updateOne({ _id: 'journal' }, more, options));
  }

  async origins(signal: AbortSignal): Promise<string[]> {
    signal.throwIfAborted();
    return inTime(READ_TIMEOUT_MS, this.#journal.distinct('origin', {}, SURE));
  }

  async loadSnapshot(origin: string, signal: AbortSignal): Promise<StoredSnapshot | undefined> {
    signal.throwIfAborted();
    const row = await inTime(READ_TIMEOUT_MS, this.#snapshots.findOne({ _id: origin }, SURE));
    if (row === null) return undefined;
    const { sequence, schema: version = 0 } = row;
    const what = `the snapshot of the journal of ${origin}`;
    this.#schema.check(what, version);
    const ledger = await unpacked(what, row.ledger, MAX_SNAPSHOT_BYTES);
    const snapshot = { origin, sequence, ledger: ledger as LedgerSnapshot, schema: version };
    return this.#schema.read<StoredSnapshot>('snapshots', what, snapshot);
  }

  async saveSnapshot(snapshot: StoredSnapshot, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { origin, sequence } = snapshot;
    const row = this.#schema.stamp('snapshots', snapshot);
    const ledger = await pack(row.ledger);
    const older = { _id: origin, sequence: { $lt: sequence } };
    try {
      const options = { upsert: true, ...DURABLE };
      const replaced = this.#snapshots.replaceOne(older, { ...row, ledger }, options);
      await inTime(TIMEOUT_MS, replaced);
    } catch (error) {
      // There is one, and it is not older.
      if (!isDuplicate(error)) throw error;
    }
  }

  async prune(origin: string, sequence: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const old = { origin, sequence: { $lte: sequence }, fence: false };
    await inTime(TIMEOUT_MS, this.#journal.deleteMany(old));
  }

  async #rowOf(document: JournalDocument): Promise<JournalRow> {
    const row = this.#schema.stamp('journal', document);
    return { ...row, entries: await pack(row.entries) };
  }

  /** Throws a NewerSchemaError: how another release writes its entries nobody knows. */
  async #documentOf(row: JournalRow): Promise<JournalDocument> {
    const what = `document ${row._id} of the journal`;
    this.#schema.check(what, row.schema ?? 0);
    const entries = (await unpacked(what, row.entries, MAX_ENTRIES_BYTES)) as Entry[];
    return this.#schema.read<JournalDocument>('journal', what, { ...row, entries });
  }
}

/** Throws a JournalError: what is damaged is no better the next time. */
async function unpacked(what: string, packed: Binary | string, maxBytes: number): Promise<unknown> {
  try {
    if (typeof packed === 'string') return JSON.parse(packed);
    return await unpack(packed, maxBytes);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `${what} is damaged: ${why}; restore the database from a backup`;
    throw new JournalError('JournalBroken', message, { cause });
  }
}
