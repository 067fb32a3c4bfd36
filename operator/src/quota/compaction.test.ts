import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aGrant, aJournal } from '../testing/journals.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { KEEP_MS, type SnapshotEvery } from './compaction.ts';
import type { Journal } from './journal.ts';
import { toSnapshot } from './ledger.ts';

const HOST = 'cdn.example.com:80';
const { signal } = new AbortController();
/** More than a snapshot is apart. */
const MANY_DOCUMENTS = 1_100;

let clock: FakeClock;
let store: MemoryJournal;

beforeEach(() => {
  clock = new FakeClock();
  store = new MemoryJournal();
});

async function openJournal(nonce: string, snapshotEvery?: SnapshotEvery): Promise<Journal> {
  const journal = aJournal({ origin: HOST, nonce, snapshotEvery }, store, clock);
  await journal.open(signal);
  return journal;
}

/** Each in a document of its own, and gone again. */
async function write(journal: Journal, documents: number, name = 'x'): Promise<void> {
  for (let at = 0; at < documents / 2; at += 1) {
    await journal.append([aGrant(`${name}${at}`)]);
    await journal.append([{ kind: 'settle', leaseId: `${name}${at}`, usedBytes: 1, atMs: 1e12 }]);
  }
  await settle();
}

describe('compaction', () => {
  it('takes a snapshot by documents, and by entries where a document has many', async () => {
    const journal = await openJournal('a');
    await write(journal, 500);
    expect(store.snapshots.size).toBe(0);
    await write(journal, MANY_DOCUMENTS - 500);
    const before = store.snapshots.get(HOST)?.sequence ?? 0;
    expect(before).toBeGreaterThan(500);
    const entries = Array.from({ length: 1_000 }, (_, at) => aGrant(`many${at}`));
    for (let at = 0; at < 20; at += 1) await journal.append(entries);
    await settle();
    expect(store.snapshots.get(HOST)?.sequence).toBeGreaterThan(before);
  });

  it('takes one sooner where it is told to', async () => {
    const journal = await openJournal('a', { documents: 10, entries: 1_000, bytes: 1_000_000 });
    await write(journal, 8);
    expect(store.snapshots.size).toBe(0);
    await write(journal, 16);
    expect(store.snapshots.get(HOST)?.sequence).toBe(20);
  });

  it('removes what a snapshot holds and no lease is as old as, and never a fence', async () => {
    const first = await openJournal('a');
    await write(first, 10);
    const second = await openJournal('b');
    await write(second, MANY_DOCUMENTS);
    // All of it is young.
    expect(store.of(HOST)).toHaveLength(1 + 10 + 1 + MANY_DOCUMENTS);
    await clock.advance(KEEP_MS + 2_000);
    await write(second, MANY_DOCUMENTS, 'later');
    const documents = store.of(HOST);
    expect(documents.length).toBeLessThan(MANY_DOCUMENTS + 4);
    expect(documents.filter(({ fence }) => fence).map(({ nonce }) => nonce)).toEqual(['a', 'b']);
    const next = await openJournal('c');
    expect(toSnapshot({ ...next.ledger })).toEqual(toSnapshot(second.ledger));
  });

  it('keeps the journal short, however long it runs', async () => {
    const journal = await openJournal('a');
    let most = 0;
    for (let round = 0; round < 12; round += 1) {
      await write(journal, 400, `round${round}-`);
      await clock.advance(15_000);
      most = Math.max(most, store.of(HOST).length);
    }
    expect(most).toBeLessThan(2_400);
  });

  it.each(['saveSnapshot', 'prune'] as const)(
    'that fails in %s loses nothing, and is tried again',
    async (step) => {
      const journal = await openJournal('a');
      await write(journal, 10);
      await clock.advance(KEEP_MS + 2_000);
      const act = store[step].bind(store) as (...args: unknown[]) => Promise<void>;
      let fails = true;
      store[step] = async (...args: unknown[]) => {
        if (fails) throw new Error('the database is away');
        await act(...args);
      };
      await write(journal, MANY_DOCUMENTS);
      expect((await openJournal('reader')).ledger.open).toEqual(journal.ledger.open);
      const again = await openJournal('b');
      fails = false;
      await clock.advance(KEEP_MS + 6_000);
      await write(again, MANY_DOCUMENTS);
      expect(store.of(HOST).length).toBeLessThan(MANY_DOCUMENTS + 4);
      expect(store.snapshots.size).toBe(1);
    },
  );

  it('may have removed any part of the old documents when it stops', async () => {
    const journal = await openJournal('a');
    await write(journal, 50);
    await store.saveSnapshot({
      origin: HOST,
      sequence: journal.sequence,
      ledger: toSnapshot(journal.ledger),
    });
    for (const sequence of [2, 5, 6, 30]) store.documents.delete(`${HOST}/${sequence}`);
    expect((await openJournal('b')).sequence).toBe(journal.sequence + 1);
  });
});
