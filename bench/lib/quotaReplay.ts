/** How soon a new leader knows a journal of a million entries, and how long that journal is. */
import { performance } from 'node:perf_hooks';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { Entry } from '@sluice/operator/quota/entries.ts';
import { Journal } from '@sluice/operator/quota/journal.ts';
import { MongoJournalStore } from '@sluice/operator/quota/journalStore.ts';
import { usageOf } from '@sluice/operator/quota/ledger.ts';
import type { TestDatabase } from '@sluice/operator/testing/adapters/testDatabase.ts';

export interface ReplayRun {
  readonly entries: number;
  readonly seconds: number;
  readonly documents: number;
  /** That are left in the journal. */
  readonly entriesLeft: number;
  readonly leases: number;
}

const HOST = 'cdn.example.com:443';
const LEASES = 1_000;
const PER_DOCUMENT = 500;
const NEVER = new AbortController().signal;

export async function replayRun(
  database: TestDatabase,
  entries: number,
  snapshots: 'with' | 'without',
): Promise<ReplayRun> {
  await database.database.dropDatabase();
  const { database: db } = database;
  const store = snapshots === 'with' ? new MongoJournalStore(db) : new WithoutSnapshots(db);
  await store.prepare();
  const writer = newJournal(store, 'writer');
  await writer.open(NEVER);
  const history = historyOf(LEASES);
  for (let written = 0; written < entries; written += PER_DOCUMENT) {
    await writer.append(Array.from({ length: PER_DOCUMENT }, () => history.next().value));
  }
  const beganMs = performance.now();
  const reader = newJournal(store, 'reader');
  await reader.open(NEVER);
  const seconds = (performance.now() - beganMs) / 1000;
  writer.close();
  reader.close();
  const [read, had] = [usageOf(reader.ledger), usageOf(writer.ledger)];
  if (JSON.stringify(read) !== JSON.stringify(had)) {
    throw new Error(`read ${JSON.stringify(read)}, written ${JSON.stringify(had)}`);
  }
  let [documents, entriesLeft] = [0, 0];
  for await (const document of store.after(HOST, 0, NEVER)) {
    documents += 1;
    entriesLeft += document.entries.length;
  }
  return { entries, seconds, documents, entriesLeft, leases: reader.ledger.leases.size };
}

class WithoutSnapshots extends MongoJournalStore {
  override async saveSnapshot(): Promise<void> {}

  override async prune(): Promise<void> {}
}

function newJournal(store: MongoJournalStore, nonce: string): Journal {
  return new Journal(
    { origin: HOST, term: 1, nonce },
    {
      store,
      clock: systemClock,
      wallClock: () => Date.now(),
      onLost: () => {},
      onRetry: () => {},
    },
  );
}

/** So many leases at once, each granted, renewed three times and settled. */
function* historyOf(leases: number): Generator<Entry, never> {
  const terms = {
    rateBytesPerSecond: 1_000_000,
    slackBytes: 50_000,
    connections: 1,
    maxBytes: 2e6,
  };
  for (let round = 0; ; round += 1) {
    for (let at = 0; at < leases; at += 1) {
      const leaseId = `0123456789abcdef01234567-${round * leases + at}`;
      const extents = [{ first: at, count: 4 }];
      if (round > 0) {
        const usedBytes = 1_500_000;
        const before = `0123456789abcdef01234567-${(round - 1) * leases + at}`;
        yield { kind: 'settle', leaseId: before, usedBytes, atMs: 1e12 + round * 4_000 };
      }
      yield {
        kind: 'grant',
        leaseId,
        holder: `sluice-relay-zone-a-5d9c7b6f4-${at}`,
        uid: `5b2f3e0e-7c3a-4f0a-9a3e-${String(at % 100).padStart(12, '0')}`,
        epoch: 1,
        pullerKey: 'MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQ=',
        wantConnections: 4,
        terms,
        extents,
      };
      for (let version = 2; version <= 4; version += 1) {
        yield { kind: 'renew', leaseId, version, acknowledged: version - 1, terms, extents };
      }
    }
  }
}
