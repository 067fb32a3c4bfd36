/** What the database says of a run: records, rows of nodes, and the journal, folded anew. */
import { MongoJournalStore } from '@sluice/operator/quota/journalStore.ts';
import { apply, emptyLedger, fromSnapshot, usageOf } from '@sluice/operator/quota/ledger.ts';
import {
  type Assignment,
  MongoAssignmentStore,
  rowsIn,
} from '@sluice/operator/store/assignments.ts';
import type { Db } from 'mongodb';
import type { Cluster } from '../cluster/cluster.ts';
import { withDatabase } from '../install/remains.ts';

export interface RecordFacts {
  /** Names the data, on disks and in the journal. */
  readonly uid: string;
  /** Of the Distribution that it is of now. */
  readonly owner: string;
  readonly name: string;
  readonly epoch: number;
  readonly sizeBytes: number;
  readonly isBuried: boolean;
}

export interface JournalFacts {
  readonly origin: string;
  /** Leases that count still. */
  readonly leases: number;
  readonly connections: number;
  /** In the period. */
  readonly chargedBytes: number;
  /** Milliseconds since the Unix epoch. */
  readonly periodStartMs: number;
  /** Where a document should be and is not. */
  readonly gaps: readonly number[];
}

export interface DatabaseFacts {
  readonly records: readonly RecordFacts[];
  readonly rows: readonly Assignment[];
  readonly journals: readonly JournalFacts[];
}

interface RecordDocument {
  readonly _id: string;
  readonly owner?: string;
  readonly name: string;
  readonly epoch: number;
  readonly files: readonly { readonly sizeBytes: number }[];
  readonly plot?: object;
}

const TIMEOUT_MS = 30_000;

export function readDatabase(cluster: Cluster): Promise<DatabaseFacts> {
  return withDatabase(cluster, async (_, database) => ({
    records: await readRecords(database),
    rows: await readRows(database),
    journals: await readJournals(database),
  }));
}

async function readRecords(database: Db): Promise<RecordFacts[]> {
  const found = await database.collection<RecordDocument>('distributions').find().toArray();
  return found.map(({ _id, owner = _id, name, epoch, files, plot }) => ({
    uid: _id,
    owner,
    name,
    epoch,
    sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    isBuried: plot !== undefined,
  }));
}

async function readRows(database: Db): Promise<Assignment[]> {
  const store = new MongoAssignmentStore(database);
  const uids = (await database.collection('assignments').distinct('uid')) as string[];
  const rows: Assignment[] = [];
  for (const uid of uids) rows.push(...rowsIn(await store.load(uid)));
  return rows;
}

async function readJournals(database: Db): Promise<JournalFacts[]> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const store = new MongoJournalStore(database);
  const journals: JournalFacts[] = [];
  for (const origin of await store.origins(signal)) {
    const snapshot = await store.loadSnapshot(origin, signal);
    let ledger = snapshot === undefined ? emptyLedger : fromSnapshot(snapshot.ledger);
    let last = snapshot?.sequence ?? 0;
    const gaps: number[] = [];
    for await (const { sequence, entries } of store.after(origin, last, signal)) {
      const isRestart = entries.some(({ kind }) => kind === 'restart');
      if (sequence !== last + 1 && !isRestart) gaps.push(last + 1);
      last = sequence;
      for (const entry of entries) ledger = apply(ledger, entry);
    }
    const { connections, trafficBytes } = usageOf(ledger);
    const { leases, periodStartMs } = ledger;
    const open = [...leases.values()].length;
    const chargedBytes = trafficBytes;
    journals.push({ origin, leases: open, connections, chargedBytes, periodStartMs, gaps });
  }
  return journals;
}
