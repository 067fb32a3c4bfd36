import { Collection, MongoNetworkError } from 'mongodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type TestDatabase, testDatabases } from '../testing/adapters/testDatabase.ts';
import { aRecord } from '../testing/objects.ts';
import { type Assignment, MongoAssignmentStore, rowsIn } from './assignments.ts';
import { MongoEpochStore } from './epochs.ts';
import { Schema, schema } from './schema.ts';
import { SchemaMark } from './schemaMark.ts';

function assignmentOf(uid: string, node: string, verifiedBytes: number): Assignment {
  const received = { fromPeers: verifiedBytes, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  const progress = {
    state: 'transferring',
    verifiedBytes,
    rateBytesPerSecond: 1,
    received,
  } as const;
  return { uid, epoch: 1, node, progress };
}

describe.each(await testDatabases())('in %s', (_name, start) => {
  let server: TestDatabase;

  beforeAll(async () => {
    server = await start();
  });

  afterAll(() => server.stop());

  beforeEach(async () => {
    await server.database.dropDatabase();
  });

  it('the newest epoch of a distribution is kept, whole, until it is deleted', async () => {
    const epochs = new MongoEpochStore(server.database);
    expect(await epochs.load('a')).toBeUndefined();
    await epochs.save(aRecord({ uid: 'a' }));
    await epochs.save(aRecord({ uid: 'b' }));
    await epochs.save(aRecord({ uid: 'a', epoch: 2 }));
    expect(await epochs.load('a')).toEqual(aRecord({ uid: 'a', epoch: 2 }));
    expect((await epochs.living()).map(({ uid }) => uid).sort()).toEqual(['a', 'b']);
    await epochs.delete('a');
    await epochs.delete('a');
    expect(await epochs.living()).toEqual([{ uid: 'b', owner: 'b' }]);
  });

  describe('of two leaders', () => {
    const swarm = (digit: string) => ({ swarmId: digit.repeat(40), feedSeed: digit });
    const [early, late] = [swarm('1'), swarm('2')];

    it.each([
      ['the same number', 2],
      ['a later one', 3],
    ])('the one of the past does not write an epoch over %s', async (_how, epoch) => {
      const [past, next] = [1, 2].map(() => new MongoEpochStore(server.database));
      await past!.save(aRecord({ uid: 'a' }));
      for (let number = 2; number <= epoch; number += 1) {
        await next!.save(aRecord({ uid: 'a', epoch: number, ...late }));
      }
      const stale = past!.save(aRecord({ uid: 'a', epoch: 2, ...early }));
      await expect(stale).rejects.toMatchObject({ code: 'Superseded' });
      expect(await next!.load('a')).toEqual(aRecord({ uid: 'a', epoch, ...late }));
    });

    it('one alone writes the first epoch', async () => {
      const stores = [early, late].map((keys) => ({
        keys,
        store: new MongoEpochStore(server.database),
      }));
      const results = await Promise.allSettled(
        stores.map(({ keys, store }) => store.save(aRecord({ uid: 'a', ...keys }))),
      );
      const won = results.findIndex(({ status }) => status === 'fulfilled');
      expect(results[1 - won]).toMatchObject({ reason: { code: 'Superseded' } });
      expect(await stores[0]!.store.load('a')).toEqual(aRecord({ uid: 'a', ...stores[won]!.keys }));
    });

    it('what another Distribution has adopted stays its, and nobody steps down for it', async () => {
      const [past, next] = [1, 2].map(() => new MongoEpochStore(server.database));
      await past!.save(aRecord({ uid: 'a' }));
      await next!.bury('a', { path: 'model', dueAtMs: 5_000, condemned: false });
      const adopted = await next!.adopt('a', { owner: 'b', name: 'again' });
      const stale = past!.save(aRecord({ uid: 'a', epoch: 2 }));
      await expect(stale).rejects.toThrow('are those of distribution b');
      expect(await next!.load('b')).toEqual(adopted);
      const { unproven, ...proven } = adopted!;
      await next!.save(proven);
      await next!.save({ ...proven, epoch: 2, ...late });
      expect(await next!.load('b')).toEqual({ ...proven, epoch: 2, ...late });
    });
  });

  it('an epoch is written again with other keys where the answer of the first time was lost', async () => {
    const epochs = new MongoEpochStore(server.database);
    await epochs.save(aRecord({ uid: 'a' }));
    const second = aRecord({ uid: 'a', epoch: 2, swarmId: '1'.repeat(40) });
    const { replaceOne } = Collection.prototype;
    const lost = vi.spyOn(Collection.prototype, 'replaceOne').mockImplementation(async function (
      this: Collection,
      ...call
    ) {
      await replaceOne.apply(this, call as Parameters<typeof replaceOne>);
      throw new MongoNetworkError('the connection broke');
    });
    await expect(epochs.save(second)).rejects.toThrow('the connection broke');
    lost.mockRestore();
    const again = { ...second, swarmId: '2'.repeat(40) };
    await epochs.save(again);
    expect(await epochs.load('a')).toEqual(again);
  });

  it('who is revoked in an epoch is kept with it, and not with the next one', async () => {
    const epochs = new MongoEpochStore(server.database);
    await epochs.save(aRecord({ uid: 'a' }));
    await epochs.saveRevoked('a', 1, ['one']);
    await epochs.saveRevoked('a', 1, ['one', 'two']);
    expect(await epochs.load('a')).toEqual(aRecord({ uid: 'a', revokedPullers: ['one', 'two'] }));
    await epochs.save(aRecord({ uid: 'a', epoch: 2 }));
    await epochs.saveRevoked('a', 1, ['late']);
    expect(await epochs.load('a')).toEqual(aRecord({ uid: 'a', epoch: 2 }));
  });

  it('mirrors are kept with the epoch that they were asked for, beside who is revoked', async () => {
    const epochs = new MongoEpochStore(server.database);
    await epochs.save(aRecord({ uid: 'a' }));
    await epochs.saveRevoked('a', 1, ['one']);
    const validators = [{ etag: '"m"' }];
    const mirrors = [{ id: 'm', url: 'http://mirror/file.bin', validators }];
    const kept = { mirrors, droppedMirrors: ['http://other/file.bin'] };
    await epochs.saveMirrors('a', 1, kept);
    await epochs.saveMirrors('a', 2, { mirrors: [], droppedMirrors: [] });
    const completedAt = '2026-01-01T00:10:00Z';
    await epochs.saveCompleted('a', 1, completedAt);
    await epochs.saveCompleted('a', 2, 'of another epoch');
    const expected = aRecord({ uid: 'a', revokedPullers: ['one'], ...kept, completedAt });
    expect(await epochs.load('a')).toEqual(expected);
    await epochs.save(aRecord({ uid: 'a', epoch: 2 }));
    expect(await epochs.load('a'), 'the next one').not.toHaveProperty('completedAt');
  });

  it('what is buried is no Distribution any more, until another one adopts it', async () => {
    const epochs = new MongoEpochStore(server.database);
    const kept = { path: 'model', dueAtMs: 5_000, condemned: false };
    const plot = { ...kept, namespaceUid: 'uid-of-ml' };
    await epochs.bury('none', plot);
    await epochs.save(aRecord({ uid: 'a', completedAt: '2026-01-01T00:10:00Z' }));
    await epochs.bury('a', plot);
    await epochs.bury('a', { ...plot, dueAtMs: 9_000 });
    expect(await epochs.load('a')).toBeUndefined();
    expect(await epochs.living()).toEqual([]);
    expect(await epochs.graves()).toEqual([{ uid: 'a', owner: 'a', namespace: 'ml', ...plot }]);

    const adopted = aRecord({ uid: 'a', owner: 'b', name: 'again', unproven: true });
    expect(await epochs.adopt('a', { owner: 'b', name: 'again' })).toEqual(adopted);
    expect(await epochs.adopt('a', { owner: 'c', name: 'late' })).toBeUndefined();
    expect(await epochs.condemn('a', 1_000)).toBe(false);
    expect(await epochs.load('b')).toEqual(adopted);
    expect(await epochs.load('a')).toBeUndefined();
    expect(await epochs.living()).toEqual([{ uid: 'a', owner: 'b' }]);
    expect(await epochs.graves()).toEqual([]);
  });

  it('what is condemned is adopted by nobody', async () => {
    const epochs = new MongoEpochStore(server.database);
    await epochs.save(aRecord({ uid: 'a' }));
    await epochs.bury('a', { path: 'model', dueAtMs: 5_000, condemned: false });
    expect(await epochs.condemn('a', 4_000)).toBe(true);
    expect(await epochs.condemn('a', 4_000)).toBe(true);
    expect(await epochs.adopt('a', { owner: 'b', name: 'again' })).toBeUndefined();
    expect(await epochs.graves()).toMatchObject([{ uid: 'a', condemned: true, dueAtMs: 4_000 }]);
    await epochs.delete('a');
    expect(await epochs.graves()).toEqual([]);
  });

  it('the nodes of a distribution are kept in shards, each as it was written last', async () => {
    const assignments = new MongoAssignmentStore(server.database);
    await assignments.prepare();
    await assignments.prepare();
    expect(await assignments.load('a')).toEqual([]);
    const shardOf = (uid: string, number: number, ...nodes: number[]) => {
      const rows = nodes.map((node) => assignmentOf(uid, `node-${node}`, node));
      return { uid, number, rows };
    };
    const shards = [
      shardOf('a', 0, 1, 2),
      shardOf('a', 1),
      ...[2, 3, 4, 5].map((n) => shardOf('a', n, n)),
    ];
    await assignments.save(shardOf('a', 0, 7, 8));
    for (const shard of shards) await assignments.save(shard);
    await assignments.save(shardOf('b', 0, 1));
    expect(await assignments.load('a')).toEqual(shards);
    await assignments.delete('a');
    expect(await assignments.load('a')).toEqual([]);
    expect(await assignments.load('b')).toEqual([shardOf('b', 0, 1)]);
  });

  describe('of what releases to come have written', () => {
    const newer = schema.newest + 1;
    const rowsOf = async (name: string) =>
      JSON.stringify(await server.database.collection(name).find().sort({ _id: 1 }).toArray());
    const setSchema = (name: string, _id: string, version: number) =>
      server.database
        .collection<{ _id: string }>(name)
        .updateOne({ _id }, { $set: { schema: version } });

    it('no distribution is read, changed or deleted', async () => {
      const epochs = new MongoEpochStore(server.database);
      const plot = { path: 'model', dueAtMs: 5_000, condemned: false };
      for (const uid of ['alive', 'buried', 'ours']) await epochs.save(aRecord({ uid }));
      await epochs.bury('buried', plot);
      for (const uid of ['alive', 'buried']) await setSchema('distributions', uid, newer);
      const before = await rowsOf('distributions');

      await expect(epochs.load('alive')).rejects.toMatchObject({ code: 'NewerSchema' });
      await expect(epochs.migrate()).rejects.toMatchObject({ code: 'NewerSchema' });
      await expect(epochs.save(aRecord({ uid: 'alive', epoch: 2 }))).rejects.toThrow();
      await epochs.saveRevoked('alive', 1, ['key']);
      await epochs.bury('alive', plot);
      expect(await epochs.condemn('buried', 1_000)).toBe(false);
      expect(await epochs.adopt('buried', { owner: 'b', name: 'again' })).toBeUndefined();
      for (const uid of ['alive', 'buried']) await epochs.delete(uid);
      expect(await rowsOf('distributions')).toBe(before);
      expect(await epochs.load('ours')).toEqual(aRecord({ uid: 'ours' }));
    });

    it('no assignment is', async () => {
      const assignments = new MongoAssignmentStore(server.database);
      await assignments.save({ uid: 'a', number: 0, rows: [assignmentOf('a', 'node-1', 1)] });
      await setSchema('assignments', 'a/0', newer);
      const before = await rowsOf('assignments');
      await expect(assignments.load('a')).rejects.toMatchObject({ code: 'NewerSchema' });
      const other = { uid: 'a', number: 0, rows: [assignmentOf('a', 'node-1', 2)] };
      await expect(assignments.save(other)).rejects.toMatchObject({ code: 'NewerSchema' });
      await assignments.delete('a');
      expect(await rowsOf('assignments')).toBe(before);
    });

    it('the database says that it is one: nobody may begin, or lead', async () => {
      const theirs = new Schema(
        Array.from({ length: newer }, () => ({ up: {}, down: {} })),
        newer,
      );
      await new SchemaMark(server.database, theirs).claim();
      const before = await rowsOf('schema');
      const ours = new SchemaMark(server.database);
      await expect(ours.check()).rejects.toMatchObject({ code: 'NewerSchema' });
      await expect(ours.claim()).rejects.toMatchObject({ code: 'NewerSchema' });
      expect(await rowsOf('schema')).toBe(before);
    });
  });

  it('what was written before there were versions is brought up to date, and nothing else of it', async () => {
    const { database } = server;
    const epochs = new MongoEpochStore(database);
    const rows = database.collection<{ _id: string }>('distributions');
    await rows.insertOne({ _id: 'old', ...aRecord({ uid: 'old' }) } as { _id: string });
    await epochs.save(aRecord({ uid: 'new' }));
    expect(await epochs.load('old')).toEqual(aRecord({ uid: 'old' }));
    await epochs.migrate();
    await epochs.migrate();
    expect(await rows.findOne({ _id: 'old' })).toEqual({
      _id: 'old',
      ...aRecord({ uid: 'old' }),
      schema: schema.written,
    });
    expect(await epochs.load('old')).toEqual(aRecord({ uid: 'old' }));
  });

  it('a document for each node, of builds from before the first release, becomes a part of a shard', async () => {
    const { database } = server;
    const assignments = new MongoAssignmentStore(database);
    const nodes = database.collection<{ _id: string }>('assignments');
    await assignments.save({ uid: 'a', number: 0, rows: [assignmentOf('a', 'node-1', 1)] });
    for (const [node, bytes] of [
      ['node-1', 9],
      ['node-2', 2],
    ] as const) {
      await nodes.insertOne({ _id: `a/${node}`, ...assignmentOf('a', node, bytes) } as {
        _id: string;
      });
    }
    await assignments.migrate();
    await assignments.migrate();
    const rows = rowsIn(await assignments.load('a'));
    expect(rows).toEqual([assignmentOf('a', 'node-1', 1), assignmentOf('a', 'node-2', 2)]);
    expect(await nodes.countDocuments()).toBe(2);
  });

  it('the mark of the database is set by the first leader, and only ever raised', async () => {
    const mark = new SchemaMark(server.database);
    await mark.check();
    expect(await server.database.collection('schema').countDocuments()).toBe(0);
    await Promise.all([mark.claim(), mark.claim()]);
    const version = async () =>
      (await server.database.collection<{ version: number }>('schema').findOne())?.version;
    expect(await version()).toBe(schema.written);
    const steps = [1, 2, 3].map(() => ({ up: {}, down: {} }));
    await new SchemaMark(server.database, new Schema(steps, 2)).claim();
    expect(await version()).toBe(2);
    // One that reads it and writes less leaves it as it is.
    await new SchemaMark(server.database, new Schema(steps, 1)).claim();
    expect(await version()).toBe(2);
  });
});
