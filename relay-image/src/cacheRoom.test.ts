import { mkdir, mkdtemp, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CacheRoom, takenBytes } from './cacheRoom.ts';

const MIB = 2 ** 20;
const REFUSED = { code: 'DiskPressure' };

let root: string;
let freeBytes: number;
let totalBytes: number;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-cache-'));
  const { bavail, blocks, bsize } = await statfs(root);
  [freeBytes, totalBytes] = [bavail * bsize, blocks * bsize];
});
afterEach(() => rm(root, { recursive: true, force: true }));

const folderOf = (uid: string) => path.join(root, uid, '1');
const filesOf = (sizeBytes: number) => [{ path: 'a.bin', sizeBytes }];

function roomOf(overrides: { minFreePercent?: number; maxCacheBytes?: number }) {
  const options = { cacheFolder: root, minFreePercent: 0, maxCacheBytes: 0, ...overrides };
  const room = new CacheRoom(options);
  return {
    make: (uid: string, sizeBytes: number) => room.make(folderOf(uid), filesOf(sizeBytes)),
    release: (uid: string) => room.release(folderOf(uid)),
  };
}

/** What a task has written so far. */
async function write(uid: string, sizeBytes: number): Promise<void> {
  await mkdir(folderOf(uid), { recursive: true });
  await writeFile(path.join(folderOf(uid), 'a.bin'), Buffer.alloc(sizeBytes, 1));
}

describe('room in the cache of a relay', () => {
  it('is what the file system has, and not the part that must stay free', async () => {
    const mostBytes = Math.floor(freeBytes * 0.5);
    await roomOf({}).make('a', mostBytes);
    const usedPercent = ((totalBytes - freeBytes) / totalBytes) * 100;
    // The rest of the disk: what is free, but for less than the files need.
    const minFreePercent = Math.min(90, Math.floor(100 - usedPercent));
    await expect(roomOf({ minFreePercent }).make('a', mostBytes)).rejects.toMatchObject(REFUSED);
    await expect(roomOf({}).make('a', totalBytes)).rejects.toMatchObject(REFUSED);
  });

  it('is no more than its volume may take, whatever the disk has', async () => {
    const room = roomOf({ maxCacheBytes: 10 * MIB });
    await room.make('a', 10 * MIB);
    await expect(roomOf({ maxCacheBytes: 10 * MIB }).make('a', 11 * MIB)).rejects.toMatchObject(
      REFUSED,
    );
    await expect(room.make('b', MIB)).rejects.toMatchObject(REFUSED);
    room.release('a');
    await room.make('b', MIB);
  });

  it('is what others have left, written or promised, and what a task has itself counts once', async () => {
    const room = roomOf({ maxCacheBytes: 10 * MIB });
    await room.make('a', 6 * MIB);
    await write('a', 4 * MIB);
    await expect(room.make('b', 5 * MIB)).rejects.toMatchObject(REFUSED);
    await room.make('b', 3 * MIB);
    await room.make('a', 6 * MIB);
    // Left by a task that is over: there until the control server says that it goes.
    room.release('a');
    await expect(room.make('c', 4 * MIB)).rejects.toMatchObject(REFUSED);
    await room.make('c', 2 * MIB);
  });
});

describe('what is in the cache', () => {
  it('counts also while a folder of it goes', async () => {
    await write('a', 2 * MIB);
    await write('b', MIB);
    await write('c', 3 * MIB);
    const whole = await takenBytes(root);
    expect(whole).toBeGreaterThanOrEqual(6 * MIB);
    const left = await takenBytes(root, async (at) => {
      if (at === folderOf('b')) await rm(at, { recursive: true });
      return readdir(at, { withFileTypes: true });
    });
    expect(whole - left).toBeGreaterThanOrEqual(MIB);
    expect(left).toBeGreaterThanOrEqual(5 * MIB);
    expect(await takenBytes(path.join(root, 'nobody'))).toBe(0);
  });

  it('is not nothing when it cannot be looked at, but for what is of another user', async () => {
    await write('a', MIB);
    await write('b', 2 * MIB);
    const taken = (code: string) =>
      takenBytes(root, async (at) => {
        if (at === folderOf('a')) throw Object.assign(new Error(code), { code });
        return readdir(at, { withFileTypes: true });
      });
    await expect(taken('EIO')).rejects.toThrow('EIO');
    const left = await taken('EACCES');
    expect(left).toBeGreaterThanOrEqual(2 * MIB);
    expect(left).toBeLessThan(3 * MIB);
  });
});
