import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabases } from '../testing/adapters/testDatabase.ts';
import { aRecord } from '../testing/objects.ts';
import { type Assignment, MongoAssignmentStore } from './assignments.ts';
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
    const expected = aRecord({ uid: 'a', revokedPullers: ['one'], ...kept });
    expect(await epochs.load('a')).toEqual(expected);
  });

  it('what is buried is no Distribution any more, until another one adopts it', async () => {
    const epochs = new MongoEpochStore(server.database);
    const plot = { path: 'model', dueAtMs: 5_000, condemned: false };
    await epochs.bury('none', plot);
    await epochs.save(aRecord({ uid: 'a' }));
    await epochs.bury('a', plot);
    await epochs.bury('a', { ...plot, dueAtMs: 9_000 });
    expect(await epochs.load('a')).toBeUndefined();
    expect(await epochs.living()).toEqual([]);
    expect(await epochs.graves()).toEqual([{ uid: 'a', owner: 'a', namespace: 'ml', ...plot }]);

    const adopted = aRecord({ uid: 'a', owner: 'b', name: 'again', unproven: true });
    expect(await epochs.adopt('a', { owner: 'b', name: 'again' })).toEqual(adopted);
    expect(await epochs.adopt('a', { owner: 'c', name: 'late' })).toBeUndefined();
    expect(await epochs.condemn('a')).toBe(false);
    expect(await epochs.load('b')).toEqual(adopted);
    expect(await epochs.load('a')).toBeUndefined();
    expect(await epochs.living()).toEqual([{ uid: 'a', owner: 'b' }]);
    expect(await epochs.graves()).toEqual([]);
  });

  it('what is condemned is adopted by nobody', async () => {
    const epochs = new MongoEpochStore(server.database);
    await epochs.save(aRecord({ uid: 'a' }));
    await epochs.bury('a', { path: 'model', dueAtMs: 5_000, condemned: false });
    expect(await epochs.condemn('a')).toBe(true);
    expect(await epochs.condemn('a')).toBe(true);
    expect(await epochs.adopt('a', { owner: 'b', name: 'again' })).toBeUndefined();
    expect(await epochs.graves()).toMatchObject([{ uid: 'a', condemned: true }]);
    await epochs.delete('a');
    expect(await epochs.graves()).toEqual([]);
  });

  it('each node has one assignment of a distribution, the one that was written last', async () => {
    const assignments = new MongoAssignmentStore(server.database);
    await assignments.prepare();
    await assignments.prepare();
    await assignments.save([]);
    await assignments.save([assignmentOf('a', 'node-1', 1), assignmentOf('b', 'node-1', 2)]);
    await assignments.save([assignmentOf('a', 'node-1', 3), assignmentOf('a', 'node-2', 4)]);
    const byNode = (await assignments.load('a')).sort((one, two) => (one.node < two.node ? -1 : 1));
    expect(byNode).toEqual([assignmentOf('a', 'node-1', 3), assignmentOf('a', 'node-2', 4)]);
    await assignments.delete('a');
    expect(await assignments.load('a')).toEqual([]);
    expect(await assignments.load('b')).toHaveLength(1);
  });

  it('replaces as many rows at once as there are nodes', async () => {
    const assignments = new MongoAssignmentStore(server.database);
    const at = (pieces: number) =>
      Array.from({ length: 150 }, (_, node) => assignmentOf('many', `node-${node}`, pieces));
    await assignments.save(at(1));
    await assignments.save(at(2));
    const rows = await assignments.load('many');
    expect(rows).toHaveLength(150);
    expect(rows).toEqual(expect.arrayContaining(at(2)));
    await assignments.delete('many');
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
      expect(await epochs.condemn('buried')).toBe(false);
      expect(await epochs.adopt('buried', { owner: 'b', name: 'again' })).toBeUndefined();
      for (const uid of ['alive', 'buried']) await epochs.delete(uid);
      expect(await rowsOf('distributions')).toBe(before);
      expect(await epochs.load('ours')).toEqual(aRecord({ uid: 'ours' }));
    });

    it('no assignment is', async () => {
      const assignments = new MongoAssignmentStore(server.database);
      await assignments.save([assignmentOf('a', 'node-1', 1)]);
      await setSchema('assignments', 'a/node-1', newer);
      const before = await rowsOf('assignments');
      await expect(assignments.load('a')).rejects.toMatchObject({ code: 'NewerSchema' });
      await expect(assignments.save([assignmentOf('a', 'node-1', 2)])).rejects.toThrow();
      await assignments.deleteNodes('a', ['node-1']);
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
    const assignments = new MongoAssignmentStore(database);
    const row = { _id: 'a/node-1', ...assignmentOf('a', 'node-1', 1) };
    await database.collection<{ _id: string }>('assignments').insertOne(row);
    expect(await assignments.load('a')).toEqual([assignmentOf('a', 'node-1', 1)]);
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
