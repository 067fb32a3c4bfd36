/**
 * How soon a new leader knows a journal of a million entries, and grants from it, and how long that
 * journal is.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { KEEP_MS } from '@sluice/operator/quota/compaction.ts';
import type { Entry } from '@sluice/operator/quota/entries.ts';
import { Journal } from '@sluice/operator/quota/journal.ts';
import { MongoJournalStore } from '@sluice/operator/quota/journalStore.ts';
import { usageOf } from '@sluice/operator/quota/ledger.ts';
import type { TestDatabase } from '@sluice/operator/testing/adapters/testDatabase.ts';
import {
  aLeasedDistribution,
  aLeaseService,
  anOriginPolicy,
} from '@sluice/operator/testing/leasing.ts';

export interface ReplayRun {
  readonly entries: number;
  readonly seconds: number;
  /** From taking over until a holder that has asked all the while is granted a lease. */
  readonly grantSeconds: number;
  readonly documents: number;
  /** With snapshots half a minute later: younger documents are kept for leaders of the past. */
  readonly entriesLeft: number;
  readonly leases: number;
}

const HOST = 'cdn.example.com:443';
const LEASES = 1_000;
const PER_DOCUMENT = 500;
const uidOf = (lease: number) => `5b2f3e0e-7c3a-4f0a-9a3e-${String(lease % 100).padStart(12, '0')}`;
const PULLER_KEY = generateFeedKeyPair().publicKey.toString('base64');
/** A holder that waits is called over its stream, or comes again; this one comes again. */
const ASK_EACH_MS = 20;
/** Ages are known to a second; so much is written for the next snapshot, which removes what is old. */
const OLD_ENOUGH_MS = 2_000;
const MORE_ENTRIES = 20_000;
const PRUNED_WITHIN_MS = 20_000;
const LOOK_EACH_MS = 500;
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
  await write(writer, history, entries);
  const beganMs = performance.now();
  const reader = newJournal(store, 'reader');
  await reader.open(NEVER);
  const seconds = (performance.now() - beganMs) / 1000;
  reader.close();
  const [read, had] = [usageOf(reader.ledger), usageOf(writer.ledger)];
  if (JSON.stringify(read) !== JSON.stringify(had)) {
    throw new Error(`read ${JSON.stringify(read)}, written ${JSON.stringify(had)}`);
  }
  const { size: leases } = reader.ledger.leases;
  const grantSeconds = await takeOver(store);
  const left = snapshots === 'with' ? await laterIn(store, history) : await lengthOf(store);
  return { entries, seconds, grantSeconds, ...left, leases };
}

async function write(journal: Journal, history: Iterator<Entry, never>, entries: number) {
  for (let written = 0; written < entries; written += PER_DOCUMENT) {
    await journal.append(Array.from({ length: PER_DOCUMENT }, () => history.next().value));
  }
}

type Length = Pick<ReplayRun, 'documents' | 'entriesLeft'>;

/** When documents are old enough to go, and as much was written as brings the next snapshot. */
async function laterIn(store: MongoJournalStore, history: Iterator<Entry, never>): Promise<Length> {
  const journal = newJournal(store, 'later');
  await journal.open(NEVER);
  const before = await lengthOf(store);
  await sleep(KEEP_MS + OLD_ENOUGH_MS);
  await write(journal, history, MORE_ENTRIES);
  const endMs = performance.now() + PRUNED_WITHIN_MS;
  let length = await lengthOf(store);
  while (length.entriesLeft >= before.entriesLeft && performance.now() < endMs) {
    await sleep(LOOK_EACH_MS);
    length = await lengthOf(store);
  }
  journal.close();
  return length;
}

async function lengthOf(store: MongoJournalStore): Promise<Length> {
  let [documents, entriesLeft] = [0, 0];
  for await (const document of store.after(HOST, 0, NEVER)) {
    documents += 1;
    entriesLeft += document.entries.length;
  }
  return { documents, entriesLeft };
}

/** A distribution that leases of the journal pull, and one more who wants to. */
async function takeOver(store: MongoJournalStore): Promise<number> {
  const service = aLeaseService({ store, clock: systemClock, wallClock: () => Date.now() });
  service.setOrigins([
    anOriginPolicy({ maxConnections: 100_000, maxBandwidthBytesPerSecond: 1e12 }),
  ]);
  const uid = uidOf(0);
  service.setDistribution(
    aLeasedDistribution({ uid, url: `https://${HOST}/file`, pieceCount: 4 * LEASES }),
  );
  const beganMs = performance.now();
  service.lead(1);
  try {
    for (let sequence = 1; ; sequence += 1) {
      const answer = await service.answer(
        { id: 'sluice-relay-zone-b-5d9c7b6f4-1', kind: 'relay' },
        {
          op: 'acquire',
          incarnation: 'incarnation',
          sequence,
          uid,
          epoch: 1,
          wantRateBytesPerSecond: 1e6,
          wantConnections: 1,
          pullerKey: PULLER_KEY,
          timeToFirstByteMs: 10,
        },
      );
      if (answer.outcome === 'granted') return (performance.now() - beganMs) / 1000;
      await sleep(ASK_EACH_MS);
    }
  } finally {
    service.stepDown();
  }
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
        uid: uidOf(at),
        epoch: 1,
        pullerKey: PULLER_KEY,
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
