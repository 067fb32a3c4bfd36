import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';
import { nodeFileSystem } from './nodeFileSystem.ts';
import { removeOlderVersions } from './olderVersions.ts';

const NEVER = new AbortController().signal;
const layout = layoutOf([{ path: 'f', sizeBytes: 3 }], 262_144);

let parent: string;
beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), 'sluice-older-'));
});
afterEach(() => rm(parent, { recursive: true }));

async function makeVersion(epoch: number, isWhole: boolean): Promise<void> {
  const store = new FileStore({ folder: path.join(parent, String(epoch)), layout });
  await store.open(NEVER);
  if (isWhole) {
    await store.put(0, Buffer.from('abc'));
    await store.complete(NEVER);
  }
  await store.close();
}

async function versions(): Promise<string[]> {
  return (await readdir(parent)).filter((name) => /^\d+$/.test(name)).sort();
}

describe('versions before the one that is visible', () => {
  it.each<[number, string[]]>([
    [0, ['5']],
    [1, ['3', '5']],
    [2, ['2', '3', '5']],
    [9, ['1', '2', '3', '5']],
  ])('are kept, the newest %i that are whole', async (keep, kept) => {
    for (const epoch of [1, 2, 3, 5]) await makeVersion(epoch, true);
    await makeVersion(4, false);
    await removeOlderVersions(path.join(parent, '5'), keep);
    expect(await versions()).toEqual(kept);
    const left = await readdir(parent);
    expect(left.some((name) => name.startsWith('4.'))).toBe(false);
  });

  it('stay when a release of another format has written them: they may be whole', async () => {
    for (const epoch of [1, 2, 3]) await makeVersion(epoch, true);
    const state = await open(path.join(parent, '2.state'), 'r+');
    await state.write('sluice99', 0);
    await state.close();
    await removeOlderVersions(path.join(parent, '3'), 0);
    expect(await versions()).toEqual(['2', '3']);
    await removeOlderVersions(path.join(parent, '3'), 1);
    expect(await versions()).toEqual(['2', '3']);
  });

  it('stay when the note of them is gone: they may be whole', async () => {
    for (const epoch of [1, 2, 3]) await makeVersion(epoch, true);
    await rm(path.join(parent, '2.state'));
    await removeOlderVersions(path.join(parent, '3'), 0);
    expect(await versions()).toEqual(['2', '3']);
    // Begun again, and given up before its bytes were looked at.
    await makeVersion(2, false);
    await removeOlderVersions(path.join(parent, '3'), 0);
    expect(await versions()).toEqual(['2', '3']);
    expect(await readFile(path.join(parent, '2/f'), 'utf8')).toBe('abc');
  });

  it('stay when the note of them cannot be read', async () => {
    for (const epoch of [1, 2]) await makeVersion(epoch, true);
    await rm(path.join(parent, '1.state'));
    await mkdir(path.join(parent, '1.state'));
    await removeOlderVersions(path.join(parent, '2'), 0);
    expect(await versions()).toEqual(['1', '2']);
  });

  it('go when they had not even begun to be noted', async () => {
    await mkdir(path.join(parent, '1'));
    await makeVersion(2, true);
    await removeOlderVersions(path.join(parent, '2'), 9);
    expect(await versions()).toEqual(['2']);
  });

  it.each([1, 2, 3, 4])('go the next time when that was cut off after %i steps', async (steps) => {
    for (const epoch of [1, 2]) await makeVersion(epoch, true);
    let left = steps;
    const remove = async (at: string) => {
      if (left === 0) throw new Error('cut off');
      left -= 1;
      await nodeFileSystem.remove(at);
    };
    // The note comes first, as it well may.
    const list = async (at: string) => (await readdir(at)).sort().reverse();
    const disk = { ...nodeFileSystem, remove, list };
    await removeOlderVersions(path.join(parent, '2'), 0, disk).catch(() => {});
    await removeOlderVersions(path.join(parent, '2'), 0);
    expect((await readdir(parent)).filter((name) => name.startsWith('1'))).toEqual([]);
  });

  it('are none of a later one, and nothing else in the folder is touched', async () => {
    for (const epoch of [2, 3]) await makeVersion(epoch, true);
    await mkdir(path.join(parent, 'other'));
    await writeFile(path.join(parent, 'link'), 'x');
    await removeOlderVersions(path.join(parent, '2'), 0);
    expect(await versions()).toEqual(['2', '3']);
    expect(await readdir(parent)).toEqual(expect.arrayContaining(['link', 'other']));
  });
});
