import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type TestDatabase, testDatabases } from '../testing/adapters/testDatabase.ts';
import { aRecord } from '../testing/objects.ts';
import { type Assignment, MongoAssignmentStore } from './assignments.ts';
import { MongoEpochStore } from './epochs.ts';

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
});
