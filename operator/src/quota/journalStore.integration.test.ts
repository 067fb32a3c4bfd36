import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { Binary } from 'mongodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabases } from '../testing/adapters/testDatabase.ts';
import { aGrant, aJournal } from '../testing/journals.ts';
import type { Entry, JournalDocument } from './entries.ts';
import { DuplicateDocumentError, type Journal } from './journal.ts';
import { MongoJournalStore } from './journalStore.ts';
import { emptyLedger, toSnapshot, usageOf } from './ledger.ts';

const { signal } = new AbortController();
const HOST = 'cdn.example.com:443';

let server: TestDatabase;
let store: MongoJournalStore;
let lost: Error[];

function documentOf(sequence: number, nonce = 'one'): JournalDocument {
  return {
    _id: `${HOST}/${sequence}`,
    origin: HOST,
    sequence,
    term: 1,
    nonce,
    fence: sequence === 1,
    entries: [{ kind: 'fence', term: 1 }],
  };
}

function newJournal(nonce: string): Journal {
  return aJournal({ origin: HOST, nonce }, store, systemClock, (error) => lost.push(error));
}

async function sequencesAfter(sequence: number): Promise<number[]> {
  const sequences: number[] = [];
  for await (const document of store.after(HOST, sequence, signal)) {
    sequences.push(document.sequence);
  }
  return sequences;
}

/** Leases that are granted and settled in one document. */
function comeAndGo(at: number, count: number): Entry[] {
  return Array.from({ length: count / 2 }, (_, each) => `gone-${at}-${each}`).flatMap((leaseId) => [
    aGrant(leaseId),
    { kind: 'settle', leaseId, usedBytes: 1, atMs: 1e12 },
  ]);
}

describe.each(await testDatabases())('in %s', (_name, start) => {
  beforeAll(async () => {
    server = await start();
  });

  afterAll(() => server.stop());

  beforeEach(async () => {
    await server.database.dropDatabase();
    store = new MongoJournalStore(server.database);
    await store.prepare();
    lost = [];
  });

  describe('the store of the journal', () => {
    it('keeps documents in order and takes each id once', async () => {
      for (const sequence of [1, 2, 10, 3]) await store.insert(documentOf(sequence), signal);
      const refused = store.insert(documentOf(2, 'other'), signal);
      await expect(refused).rejects.toBeInstanceOf(DuplicateDocumentError);
      expect(await store.find(HOST, 2, signal)).toEqual({ nonce: 'one' });
      expect(await store.find(HOST, 4, signal)).toBeUndefined();
      expect(await sequencesAfter(1)).toEqual([2, 3, 10]);
      expect(await store.origins(signal)).toEqual([HOST]);
      await store.barrier(signal);
      await store.barrier(signal);
    });

    it('gives up what a database that is frozen does not answer', async () => {
      await server.freeze();
      try {
        const asked = [
          store.insert(documentOf(1), signal),
          store.find(HOST, 1, signal),
          store.barrier(signal),
          store.prune(HOST, 1, signal),
        ];
        const codes = asked.map((each) =>
          each.then(
            () => 'done',
            ({ code }) => code,
          ),
        );
        // The driver alone waits for longer.
        const late = sleep(20_000).then(() => ['late']);
        const all = Array.from(asked, () => 'DatabaseTimeout');
        expect(await Promise.race([Promise.all(codes), late])).toEqual(all);
      } finally {
        await server.goOn();
      }
    });

    it('does not let a late snapshot replace a newer one', async () => {
      const ledger = toSnapshot(emptyLedger);
      expect(await store.loadSnapshot(HOST, signal)).toBeUndefined();
      await store.saveSnapshot({ origin: HOST, sequence: 2, ledger }, signal);
      await store.saveSnapshot({ origin: HOST, sequence: 5, ledger }, signal);
      await store.saveSnapshot({ origin: HOST, sequence: 3, ledger }, signal);
      expect(await store.loadSnapshot(HOST, signal)).toMatchObject({ sequence: 5, ledger });
    });

    it('removes what is in a snapshot, but no fence', async () => {
      for (const sequence of [1, 2, 3]) await store.insert(documentOf(sequence), signal);
      await store.prune(HOST, 2, signal);
      expect(await sequencesAfter(0)).toEqual([1, 3]);
    });
  });

  describe('a journal that a release to come has written', () => {
    /** All that is in the database now. */
    async function rows(): Promise<string> {
      const names = ['journal', 'snapshots', 'journalBarriers'];
      const found = await Promise.all(
        names.map((name) => server.database.collection(name).find().sort({ _id: 1 }).toArray()),
      );
      return JSON.stringify(found);
    }

    async function refused(): Promise<unknown> {
      const before = await rows();
      const error = await newJournal('ours')
        .open(signal)
        .then(() => undefined)
        .catch((thrown: unknown) => thrown);
      expect(await rows()).toBe(before);
      return error;
    }

    it('is not read, by name, and nothing is written to it', async () => {
      await newJournal('first').open(signal);
      const newer = { ...documentOf(2, 'theirs'), entries: 'of another kind', schema: 99 };
      await server.database.collection<{ _id: string }>('journal').insertOne(newer);
      expect(await refused()).toMatchObject({
        code: 'NewerSchema',
        message: expect.stringContaining(`document ${HOST}/2 of the journal has schema version 99`),
      });
    });

    it('is not read from its snapshot either', async () => {
      await newJournal('first').open(signal);
      await store.saveSnapshot(
        { origin: HOST, sequence: 1, ledger: toSnapshot(emptyLedger) },
        signal,
      );
      const change = { $set: { schema: 99, ledger: 'of another kind' } };
      await server.database
        .collection<{ _id: string }>('snapshots')
        .updateOne({ _id: HOST }, change);
      expect(await refused()).toMatchObject({ code: 'NewerSchema' });
    });

    it('is not read when it is damaged, by name', async () => {
      await newJournal('first').open(signal);
      const entries = new Binary(Buffer.from('not gzipped'));
      const damaged = { ...documentOf(2, 'theirs'), entries, schema: 1 };
      await server.database.collection<{ _id: string }>('journal').insertOne(damaged);
      await expect(newJournal('second').open(signal)).rejects.toMatchObject({
        code: 'JournalBroken',
        message: expect.stringContaining(`document ${HOST}/2 of the journal is damaged`),
      });
    });

    it('takes nothing from a leader of ours that was there before it: he steps down', async () => {
      const ours = newJournal('ours');
      await ours.open(signal);
      const fence = { ...documentOf(2, 'theirs'), entries: 'of another kind', schema: 99 };
      await server.database.collection<{ _id: string }>('journal').insertOne(fence);
      await expect(ours.append([aGrant('late')])).rejects.toMatchObject({ code: 'NotLeading' });
      expect(lost).toHaveLength(1);
    });

    it('is read when it was written before there were versions', async () => {
      const before = { ...documentOf(1), entries: JSON.stringify([aGrant('early')]) };
      await server.database.collection<{ _id: string }>('journal').insertOne(before);
      const journal = newJournal('ours');
      await journal.open(signal);
      expect([...journal.ledger.leases.keys()]).toEqual(['early']);
      const written = await server.database.collection('journal').findOne({ sequence: 2 });
      expect(written).toMatchObject({ schema: 1, nonce: 'ours' });
    });
  });

  describe('a journal in the database', () => {
    it('is folded from a snapshot and what came after it by the next leader', async () => {
      const first = newJournal('first');
      await first.open(signal);
      // More than a snapshot is apart.
      for (let at = 0; at < 50; at += 1) {
        await first.append([aGrant(`lease-${at}`), ...comeAndGo(at, 400)]);
      }
      const second = newJournal('second');
      await second.open(signal);
      expect(usageOf(second.ledger)).toEqual(usageOf(first.ledger));
      expect(second.ledger.leases.size).toBe(50);
      expect(await store.loadSnapshot(HOST, signal)).toMatchObject({ origin: HOST });
      await expect(first.append([aGrant('late')])).rejects.toMatchObject({ code: 'NotLeading' });
      expect(lost).toHaveLength(1);
      await second.append([aGrant('next')]);
      expect(second.ledger.leases.has('late')).toBe(false);
    });

    it('loses nothing that it said was durable, whenever the database is killed', async () => {
      const journal = newJournal('only');
      await journal.open(signal);
      const durable: string[] = [];
      let isOver = false;
      // Snapshots and their pruning are in it: each is due after 16,384 entries.
      const writing = (async () => {
        for (let at = 0; !isOver; at += 1) {
          await journal.append([aGrant(`kept-${at}`), ...comeAndGo(at, 900)]);
          durable.push(`kept-${at}`);
        }
      })();
      for (const afterMs of [37, 211, 523, 89]) {
        const before = durable.length;
        await expect.poll(() => durable.length, { timeout: 20_000 }).toBeGreaterThan(before + 8);
        await sleep(afterMs);
        await server.crash();
        await server.restart();
      }
      const snapshot = () => store.loadSnapshot(HOST, signal);
      await expect.poll(snapshot, { timeout: 60_000 }).toBeDefined();
      isOver = true;
      await writing;
      expect(lost).toEqual([]);
      const reader = newJournal('reader');
      await reader.open(signal);
      expect([...reader.ledger.leases.keys()].sort()).toEqual(durable.sort());
      expect(usageOf(reader.ledger)).toEqual(usageOf(journal.ledger));
    }, 120_000);

    it('goes on with what was under way when the database comes back', async () => {
      const journal = newJournal('only');
      await journal.open(signal);
      await server.crash();
      const durable = journal.append([aGrant('patient')]);
      await sleep(300);
      expect(journal.ledger.leases.size).toBe(0);
      await server.restart();
      await durable;
      expect(journal.ledger.leases.size).toBe(1);
      const reader = newJournal('reader');
      await reader.open(signal);
      expect([...reader.ledger.leases.keys()]).toEqual(['patient']);
    });
  });
});
