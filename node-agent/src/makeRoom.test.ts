import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, rm, statfs, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FileStore } from '@sluice/engine/adapters/file/fileStore.ts';
import { unwrittenBytes } from '@sluice/engine/adapters/file/unwritten.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskUse } from './diskUse.ts';
import { makeRoom } from './makeRoom.ts';
import type { Orphan } from './orphans.ts';
import { versionPathsOf } from './versionPaths.ts';

const MIB = 1024 * 1024;
const OPTIONS = {
  minFreePercent: 0,
  namespaceShares: { others: { percent: 100 }, named: new Map() },
};
const REFUSED = { code: 'DiskPressure' };

let root: string;
let diskUse: DiskUse;
let orphans: readonly Orphan[];
/** More than half of what is free, and less than all. */
let mostBytes: number;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-room-'));
  await mkdir(pathsOf('any').namespaceFolder);
  diskUse = new DiskUse();
  orphans = [];
  const { bavail, bsize } = await statfs(root);
  mostBytes = Math.floor(bavail * bsize * 0.6);
});

afterEach(() => rm(root, { recursive: true, force: true }));

function pathsOf(uid: string) {
  const task = { namespace: 'team', uid, epoch: 1, files: [], target: { path: uid } };
  return versionPathsOf(root, task as unknown as Parameters<typeof versionPathsOf>[1]);
}

const dependencies = () => ({ diskUse, orphans: { list: async () => orphans } });

const filesOf = (sizeBytes: number) => [{ path: 'a.bin', sizeBytes }];

const enter = (uid: string, sizeBytes: number) =>
  makeRoom(pathsOf(uid), { namespace: 'team', files: filesOf(sizeBytes) }, OPTIONS, dependencies());

/** As a store begins it: of its size, and of no bytes. */
async function begin(uid: string, sizeBytes: number): Promise<string> {
  const { versionFolder } = pathsOf(uid);
  await mkdir(versionFolder, { recursive: true });
  const file = path.join(versionFolder, 'a.bin');
  await (await open(file, 'w')).close();
  await truncate(file, sizeBytes);
  return file;
}

describe('room on a disk', () => {
  it('is not given to two versions, though the first has written nothing yet', async () => {
    await enter('one', mostBytes);
    await begin('one', mostBytes);
    await expect(enter('two', mostBytes)).rejects.toMatchObject(REFUSED);
    diskUse.release(pathsOf('one'));
    await enter('two', mostBytes);
  });

  it('is given to one of two versions that were begun before a restart', async () => {
    await begin('one', mostBytes);
    await begin('two', mostBytes);
    await enter('one', mostBytes);
    await expect(enter('two', mostBytes)).rejects.toMatchObject(REFUSED);
  });

  it('is given again to the version that has it', async () => {
    await enter('one', mostBytes);
    await begin('one', mostBytes);
    await enter('one', mostBytes);
  });

  it('is no question for a version that has all of its bytes', async () => {
    const body = randomBytes(MIB);
    await (await open(await begin('placed', MIB), 'r+')).writeFile(body);
    await enter('one', mostBytes);
    await expect(
      makeRoom(
        pathsOf('placed'),
        { namespace: 'team', files: filesOf(MIB) },
        { ...OPTIONS, minFreePercent: 100 },
        dependencies(),
      ),
    ).resolves.toBeUndefined();
  });
});

describe('a refusal', () => {
  const orphan = (namespace: string, uid: string, sizeBytes: number): Orphan => {
    return { namespace, uid, path: `models/${uid}`, sizeBytes };
  };
  const refusal = (others: object, sizeBytes = MIB) =>
    makeRoom(
      pathsOf('one'),
      { namespace: 'team', files: filesOf(sizeBytes) },
      { ...OPTIONS, ...others },
      dependencies(),
    ).then(
      () => 'none',
      ({ code, message }) => `${code}: ${message}`,
    );
  const share = { namespaceShares: { others: { bytes: 0 }, named: new Map() } };

  it('names what the namespace has that nobody names', async () => {
    orphans = [orphan('team', 'a', 2 * MIB), orphan('team', 'b', MIB)];
    expect(await refusal(share)).toMatch(
      /^NamespaceShareExceeded: .* need 1\.00 MiB; it has 3\.00 MiB that no Distribution names: models\/a \(a\), models\/b \(b\)$/,
    );
  });

  it('of the disk tells no names, which may be of other namespaces', async () => {
    orphans = [orphan('other', 'a', 2 * MIB)];
    const said = await refusal({}, 2 ** 50);
    expect(said).toMatch(/^DiskPressure: .*; it has 2\.00 MiB that no Distribution names$/);
  });

  it('says nothing of orphans where there are none, or none is known', async () => {
    expect(await refusal(share)).toMatch(/need 1\.00 MiB$/);
    expect(await refusal({}, 2 ** 50)).toMatch(/must stay free$/);
  });
});

describe('what a version is still to write', () => {
  it('is all of it, before it has a file', async () => {
    expect(await unwrittenBytes(pathsOf('one').versionFolder, filesOf(5 * MIB))).toBe(5 * MIB);
  });

  it('gets less as it is written', async () => {
    const opened = await open(await begin('one', 4 * MIB), 'r+');
    await opened.write(randomBytes(MIB), 0, MIB, 2 * MIB);
    await opened.sync();
    await opened.close();
    const left = await unwrittenBytes(pathsOf('one').versionFolder, filesOf(4 * MIB));
    // Disks give space by the block, and some a little ahead.
    expect(left).toBeLessThanOrEqual(3 * MIB);
    expect(left).toBeGreaterThan(MIB);
  });

  it('is what is not noted as written, however little the disk needs for the rest', async () => {
    const { versionFolder } = pathsOf('one');
    const store = new FileStore({ folder: versionFolder, layout: layoutOf(filesOf(MIB), 262_144) });
    await store.open(new AbortController().signal);
    for (const piece of [0, 1]) await store.put(piece, randomBytes(262_144), undefined);
    await store.close();
    // As on a disk that has compressed it to nothing.
    const file = path.join(versionFolder, 'a.bin');
    await truncate(file, 0);
    await truncate(file, MIB);
    expect(await unwrittenBytes(versionFolder, filesOf(MIB))).toBe(MIB / 2);
  });

  it('is nothing once it is whole, however little the disk needs for it', async () => {
    const { versionFolder } = pathsOf('one');
    const layout = layoutOf(filesOf(0), 262_144);
    const store = new FileStore({ folder: versionFolder, layout });
    await store.open(new AbortController().signal);
    await store.complete(new AbortController().signal);
    await store.close();
    await truncate(path.join(versionFolder, 'a.bin'), MIB);
    expect(await unwrittenBytes(versionFolder, filesOf(MIB))).toBe(0);
    // But not of a file that is not there, or is another one.
    expect(await unwrittenBytes(versionFolder, filesOf(2 * MIB))).toBe(2 * MIB);
  });
});
