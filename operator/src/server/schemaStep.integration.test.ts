/**
 * Releases to come, of which one changes how everything is kept, take over a database from this one
 * and give it back (docs/adr/0026).
 */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { Db } from 'mongodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import type { KubeClient } from '../kube/client.ts';
import type { Entry } from '../quota/entries.ts';
import type { Journal } from '../quota/journal.ts';
import { MongoJournalStore } from '../quota/journalStore.ts';
import { toSnapshot, usageOf } from '../quota/ledger.ts';
import { MongoAssignmentStore, rowsIn } from '../store/assignments.ts';
import { MongoEpochStore } from '../store/epochs.ts';
import { Schema, type SchemaStep, STEPS, schema } from '../store/schema.ts';
import { SchemaMark } from '../store/schemaMark.ts';
import { type TestDatabase, testDatabases } from '../testing/adapters/testDatabase.ts';
import { newTestDataSide } from '../testing/adapters/testDataSide.ts';
import { aGrant, aJournal } from '../testing/journals.ts';
import { aRecord } from '../testing/objects.ts';

const { signal } = new AbortController();
const HOST = 'cdn.example.com:443';

type Fields = Readonly<Record<string, unknown>>;
const renamed =
  (from: string, to: string) =>
  ({ [from]: value, ...rest }: Fields): Fields => ({ ...rest, [to]: value });
const each =
  (list: string, change: (fields: Fields) => Fields) =>
  ({ [list]: items, ...rest }: Fields): Fields => ({
    ...rest,
    [list]: (items as Fields[]).map(change),
  });

/** Other names, and where the ledger is folded from it, a field beside those that it knows. */
const STEP: SchemaStep = {
  up: {
    distributions: renamed('url', 'sourceUrl'),
    assignments: each('rows', renamed('node', 'host')),
    journal: each('entries', (entry) => ({ ...entry, form: 'new' })),
    snapshots: (snapshot) => ({ ...snapshot, form: 'new' }),
  },
  down: {
    distributions: renamed('sourceUrl', 'url'),
    assignments: each('rows', renamed('host', 'node')),
    journal: each('entries', ({ form, ...entry }) => entry),
    snapshots: ({ form, ...snapshot }) => snapshot,
  },
};
const NEWER = schema.newest + 1;
/** The next release reads the new form, and writes the one that this one reads. */
const reading = new Schema([...STEPS, STEP], schema.written);
/** The one after it writes the new form. */
const writing = new Schema([...STEPS, STEP], NEWER);

const inNewForm = ({ url, ...rest }: ReturnType<typeof aRecord>) => ({ ...rest, sourceUrl: url });

function shardOf(uid: string, key: 'node' | 'host') {
  const received = { fromPeers: 1, fromRelays: 2, fromRelayHttp: 0, fromOrigin: 0 };
  const progress = { state: 'ready', verifiedBytes: 3, rateBytesPerSecond: 0, received } as const;
  const rows = ['n1', 'n2'].map((name) => ({ uid, epoch: 1, progress, [key]: name }));
  return { uid, number: 0, rows } as unknown as Parameters<MongoAssignmentStore['save']>[0];
}

/** What an operator of a release has of the database. */
class Release {
  readonly mark: SchemaMark;
  readonly epochs: MongoEpochStore;
  readonly assignments: MongoAssignmentStore;
  readonly store: MongoJournalStore;
  readonly #name: string;

  constructor(name: string, database: Db, ours: Schema) {
    this.#name = name;
    this.mark = new SchemaMark(database, ours);
    this.epochs = new MongoEpochStore(database, ours);
    this.assignments = new MongoAssignmentStore(database, ours);
    this.store = new MongoJournalStore(database, ours);
  }

  /** As a replica does, in this order. */
  async lead(): Promise<Journal> {
    await this.mark.claim();
    await this.epochs.migrate();
    await this.assignments.migrate();
    return this.openJournal();
  }

  async openJournal(): Promise<Journal> {
    const journal = aJournal({ origin: HOST, nonce: this.#name }, this.store, systemClock);
    await journal.open(signal);
    return journal;
  }

  /** What a leader of that release has written to the journal, as this one reads it. */
  async entriesOf(writer: string): Promise<Entry[]> {
    const entries: Entry[] = [];
    for await (const document of this.store.after(HOST, 0, signal)) {
      if (document.nonce === writer) entries.push(...document.entries);
    }
    return entries;
  }
}

describe.each(await testDatabases())('a schema step, in %s', (_name, start) => {
  let server: TestDatabase;
  let present: Release;
  let next: Release;
  let later: Release;

  beforeAll(async () => {
    server = await start();
  });

  afterAll(() => server?.stop());

  beforeEach(async () => {
    const { database } = server;
    await database.dropDatabase();
    present = new Release('present', database, schema);
    next = new Release('next', database, reading);
    later = new Release('later', database, writing);
    await present.store.prepare();
    await present.assignments.prepare();
  });

  async function dump(): Promise<Record<string, Fields[]>> {
    const names = ['schema', 'distributions', 'assignments', 'journal', 'snapshots'];
    const found = names.map(async (name) => {
      const rows = await server.database.collection(name).find().sort({ _id: 1 }).toArray();
      return [name, rows] as const;
    });
    return Object.fromEntries(await Promise.all(found));
  }

  /** Of each kind of document one at least; answers the journal as this release has folded it. */
  async function writtenByPresent(): Promise<Journal> {
    const journal = await present.lead();
    await present.epochs.save(aRecord({ uid: 'a' }));
    await present.epochs.saveRevoked('a', 1, ['liar']);
    await present.epochs.save(aRecord({ uid: 'b' }));
    await present.epochs.bury('b', { path: 'model', dueAtMs: 5_000, condemned: false });
    await present.assignments.save(shardOf('a', 'node'));
    await journal.append([aGrant('first'), aGrant('second')]);
    const { sequence } = journal;
    const ledger = toSnapshot(journal.ledger);
    await present.store.saveSnapshot({ origin: HOST, sequence, ledger }, signal);
    await journal.append([{ kind: 'settle', leaseId: 'first', usedBytes: 7, atMs: 1e12 }]);
    return journal;
  }

  /** That this release finds all that `writtenByPresent` left, in the new form. */
  async function expectInNewForm(release: Release, journal: Journal, before: Journal) {
    const record = inNewForm(aRecord({ uid: 'a', revokedPullers: ['liar'] }));
    expect(await release.epochs.load('a')).toEqual(record);
    expect(await release.epochs.graves()).toMatchObject([{ uid: 'b', path: 'model' }]);
    expect(await release.assignments.load('a')).toEqual([shardOf('a', 'host')]);
    expect(await release.store.loadSnapshot(HOST, signal)).toMatchObject({ form: 'new' });
    const entries = await release.entriesOf('present');
    expect(entries.length).toBeGreaterThan(3);
    for (const entry of entries) expect(entry).toMatchObject({ form: 'new' });
    expect([...journal.ledger.leases.keys()]).toEqual(['second']);
    expect(usageOf(journal.ledger)).toEqual(usageOf(before.ledger));
  }

  it('is read by the next release, which writes what the present one reads', async () => {
    const before = await writtenByPresent();
    const journal = await next.lead();
    await expectInNewForm(next, journal, before);

    await next.epochs.save(
      inNewForm(aRecord({ uid: 'c' })) as unknown as ReturnType<typeof aRecord>,
    );
    await next.epochs.saveRevoked('a', 1, ['liar', 'other']);
    await next.assignments.save(shardOf('c', 'host'));
    await journal.append([aGrant('third')]);

    const again = await present.lead();
    const revokedPullers = ['liar', 'other'];
    expect(await present.epochs.load('a')).toEqual(aRecord({ uid: 'a', revokedPullers }));
    expect(await present.epochs.load('c')).toEqual(aRecord({ uid: 'c' }));
    for (const uid of ['a', 'c']) {
      expect(rowsIn(await present.assignments.load(uid))).toEqual(shardOf(uid, 'node').rows);
    }
    expect(await present.entriesOf('next')).toContainEqual(aGrant('third'));
    expect([...again.ledger.leases.keys()].toSorted()).toEqual(['second', 'third']);
    expect(usageOf(again.ledger)).toEqual(usageOf(journal.ledger));
  });

  it('is taken by the release after it, and nothing of it is read, changed or lost by the present one', async () => {
    const before = await writtenByPresent();
    const journal = await later.lead();
    await expectInNewForm(later, journal, before);
    await later.assignments.save(shardOf('a', 'host'));
    const taken = await dump();
    expect(taken.schema).toMatchObject([{ version: NEWER }]);
    for (const row of taken.distributions ?? []) {
      expect(row).toMatchObject({ schema: NEWER, sourceUrl: expect.any(String) });
      expect(row).not.toHaveProperty('url');
    }
    // What is only ever added to stays as it was written.
    const versions = new Set(taken.journal?.map((document) => document.schema));
    expect([...versions]).toEqual([schema.written, NEWER]);

    const refusal = { code: 'NewerSchema', message: expect.stringContaining(`version ${NEWER}`) };
    await expect(present.mark.check()).rejects.toMatchObject(refusal);
    await expect(present.lead()).rejects.toMatchObject(refusal);
    await expect(present.epochs.load('a')).rejects.toMatchObject(refusal);
    await expect(present.epochs.migrate()).rejects.toMatchObject(refusal);
    await expect(present.assignments.load('a')).rejects.toMatchObject(refusal);
    await expect(present.openJournal()).rejects.toMatchObject(refusal);
    await present.epochs.delete('a');
    await present.assignments.delete('a');
    await expectProcessRefuses();
    expect(await dump()).toEqual(taken);

    const back = await next.lead();
    await expectInNewForm(next, back, before);
  });

  it('keeps the operator of the present one from making anything, as it starts', async () => {
    await server.database.dropDatabase();
    await later.mark.claim();
    await expectProcessRefuses();
    const collections = await server.database.listCollections().toArray();
    expect(collections.map(({ name }) => name)).toEqual(['schema']);
  });

  /** The operator of this release, as it starts and as it would lead. */
  async function expectProcessRefuses(): Promise<void> {
    const logger = createLogger({ silent: true });
    const said = vi.spyOn(logger, 'error');
    // Nobody comes to ask Kubernetes for anything.
    const side = newTestDataSide(server, {} as KubeClient, logger);
    const stop = new AbortController();
    const started = side.start(stop.signal).then(
      () => 'started',
      () => 'stopped',
    );
    try {
      await vi.waitFor(() => expect(said).toHaveBeenCalled(), { timeout: 10_000, interval: 20 });
      const message = `the database has schema version ${NEWER}, and this release reads up to ${schema.newest}: go back to the release that has written it; nothing was changed`;
      expect(said.mock.calls[0]).toMatchObject([
        'the database is left alone',
        { code: 'NewerSchema', message },
      ]);
      await expect(side.lead(1, stop.signal)).rejects.toMatchObject({ code: 'NewerSchema' });
      expect([side.ready(), side.databaseState()]).toEqual([false, { kind: 'newer' }]);
    } finally {
      stop.abort();
      expect(await started).toBe('stopped');
      await side.stop();
    }
  }
});
