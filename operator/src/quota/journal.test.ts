import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aGrant, aJournal } from '../testing/journals.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import type { Journal } from './journal.ts';
import { toSnapshot } from './ledger.ts';

const HOST = 'cdn.example.com:80';
const { signal } = new AbortController();

let clock: FakeClock;
let store: MemoryJournal;
let lost: Error[];

beforeEach(() => {
  clock = new FakeClock();
  store = new MemoryJournal();
  lost = [];
});

function newJournal(nonce: string, term = 1): Journal {
  return aJournal({ origin: HOST, term, nonce }, store, clock, (error) => lost.push(error));
}

const leasesOf = (journal: Journal) => [...journal.ledger.leases.keys()];

describe('a journal', () => {
  it('writes what comes while an insert is under way in one document', async () => {
    const journal = newJournal('a');
    await journal.open(signal);
    await Promise.all(['x', 'y', 'z'].map((id) => journal.append([aGrant(id)])));
    expect(store.of(HOST).map(({ entries }) => entries.length)).toEqual([1, 1, 2]);
    expect(leasesOf(journal).sort()).toEqual(['x', 'y', 'z']);
  });

  it('says that something is durable when it is', async () => {
    const journal = newJournal('a');
    await journal.open(signal);
    store.fault = () => 'down';
    let durable = false;
    const done = journal.append([aGrant('x')]).then(() => {
      durable = true;
    });
    await clock.advance(5_000);
    expect(durable).toBe(false);
    expect(leasesOf(journal)).toEqual([]);
    store.fault = () => 'none';
    await clock.advance(600);
    await done;
    expect(leasesOf(journal)).toEqual(['x']);
  });

  it('takes a document whose answer was lost for its own, once the database is sure of it', async () => {
    const journal = newJournal('a');
    await journal.open(signal);
    const faults = ['lost', 'none', 'down', 'none'] as const;
    let at = 0;
    store.fault = () => faults[at++] ?? 'none';
    let durable = false;
    const done = journal.append([aGrant('x')]).then(() => {
      durable = true;
    });
    await clock.advance(600);
    // The second attempt found it there, but the barrier behind it failed.
    expect(durable).toBe(false);
    await clock.advance(600);
    await done;
    expect(store.of(HOST)).toHaveLength(2);
  });

  it('writes again what a change of the primary lost before the database was sure of it', async () => {
    const journal = newJournal('a');
    await journal.open(signal);
    store.fault = () => 'lost';
    const done = journal.append([aGrant('x')]);
    await settle();
    const barrier = store.barrier.bind(store);
    store.barrier = async () => {
      store.documents.delete(`${HOST}/2`);
      store.barrier = barrier;
    };
    store.fault = () => 'none';
    await clock.advance(600);
    await done;
    expect(store.documents.has(`${HOST}/2`)).toBe(true);
    expect(leasesOf(journal)).toEqual(['x']);
  });

  it('ends when a later leader was there, also one of the same term', async () => {
    const former = newJournal('a');
    await former.open(signal);
    await former.append([aGrant('x')]);
    const later = newJournal('b');
    await later.open(signal);
    expect(leasesOf(later)).toEqual(['x']);
    await expect(former.append([aGrant('y')])).rejects.toMatchObject({ code: 'NotLeading' });
    await expect(former.append([aGrant('z')])).rejects.toMatchObject({ code: 'NotLeading' });
    expect(lost).toHaveLength(1);
    await later.append([aGrant('w')]);
    expect(leasesOf(later).sort()).toEqual(['w', 'x']);
  });

  it('puts its fence behind what a former leader wrote a moment ago', async () => {
    const former = newJournal('a');
    await former.open(signal);
    const later = newJournal('b');
    const read = store.after.bind(store);
    let raced = false;
    store.after = async function* (...args) {
      yield* read(...args);
      if (raced) return;
      raced = true;
      await former.append([aGrant('late')]);
    };
    await later.open(signal);
    expect(leasesOf(later)).toEqual(['late']);
  });

  it('refuses to go on over a hole', async () => {
    const former = newJournal('a');
    await former.open(signal);
    for (const id of ['x', 'y', 'z']) await former.append([aGrant(id)]);
    store.documents.delete(`${HOST}/3`);
    await expect(newJournal('b').open(signal)).rejects.toMatchObject({
      code: 'JournalBroken',
    });
  });

  it('writes nothing any more after its end', async () => {
    const journal = newJournal('a');
    await journal.open(signal);
    store.fault = () => 'down';
    const pending = journal.append([aGrant('x')]);
    await settle();
    journal.close();
    await expect(pending).rejects.toMatchObject({ code: 'NotLeading' });
    store.fault = () => 'none';
    await clock.advance(5_000);
    expect(store.of(HOST)).toHaveLength(1);
  });

  it('may find that documents went while it read, because they are in a snapshot by then', async () => {
    const former = newJournal('a');
    await former.open(signal);
    for (const id of ['x', 'y', 'z']) await former.append([aGrant(id)]);
    const read = store.after.bind(store);
    let raced = false;
    store.after = async function* (...args) {
      if (!raced) {
        raced = true;
        const ledger = toSnapshot(former.ledger);
        await store.saveSnapshot({ origin: HOST, sequence: former.sequence, ledger });
        await store.prune(HOST, former.sequence - 1);
      }
      yield* read(...args);
    };
    const later = newJournal('b');
    await later.open(signal);
    expect(leasesOf(later).sort()).toEqual(['x', 'y', 'z']);
  });

  it('of another database, which a snapshot ends, goes on behind that, not behind its mark', async () => {
    const former = newJournal('a');
    await former.open(signal);
    for (let at = 0; at < 40; at += 1) await former.append([aGrant(`${at}`)]);
    const { sequence } = former;
    await store.saveSnapshot({ origin: HOST, sequence, ledger: toSnapshot(former.ledger) });
    await store.prune(HOST, sequence);
    const mark = { host: HOST, identity: 'another', trafficBytes: 0, periodStartMs: 0 };
    const behind = { mark: { ...mark, written: 5, sequence: 12 }, lifetimeMs: 100 };
    for (const nonce of ['b', 'c']) {
      const open = newJournal(nonce).open(signal, behind);
      await clock.advance(200);
      await open;
    }
    expect(store.of(HOST).map((document) => document.sequence)).toEqual([1, 42, 43]);
  });

  it('tells nobody of what became durable after it was closed', async () => {
    const journal = newJournal('a');
    await journal.open(signal);
    const inserted = Promise.withResolvers<void>();
    const insert = store.insert.bind(store);
    store.insert = async (document) => {
      await insert(document);
      await inserted.promise;
    };
    const granted = journal.append([aGrant('x')]);
    await settle();
    journal.close();
    inserted.resolve();
    await expect(granted).rejects.toMatchObject({ code: 'NotLeading' });
    expect(lost).toEqual([]);
  });

  it('splits what waits into documents of bounded size', async () => {
    const journal = newJournal('a');
    await journal.open(signal);
    const first = journal.append([aGrant('first')]);
    const extents = Array.from({ length: 4_000 }, (_, at) => ({ first: 2 * at, count: 1 }));
    const large = Array.from({ length: 20 }, (_, at) => aGrant(`large-${at}`, { extents }));
    const small = Array.from({ length: 1_500 }, (_, at) => aGrant(`small-${at}`));
    await Promise.all([first, ...[...large, ...small].map((entry) => journal.append([entry]))]);
    const documents = store.of(HOST).slice(2);
    for (const { entries } of documents) {
      expect(entries.length).toBeLessThanOrEqual(1_024);
      expect(JSON.stringify(entries).length).toBeLessThan(1.5 * 2 ** 20);
    }
    expect(documents.flatMap(({ entries }) => entries)).toEqual([...large, ...small]);
  });
});
