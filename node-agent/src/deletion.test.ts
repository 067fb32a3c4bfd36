import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { deleteVersions, noteLink } from './deletion.ts';
import { versionPathsOf } from './versionPaths.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-deletion-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A version as the store leaves it. */
async function place(uid: string, epoch: number, target: string, visible = true) {
  const task = {
    uid,
    epoch,
    namespace: 'ns',
    files: [],
    target: { path: target, fileMode: '0644' },
  } as unknown as Task;
  const paths = versionPathsOf(root, task);
  await noteLink(paths);
  await mkdir(paths.versionFolder);
  await writeFile(path.join(paths.versionFolder, 'file.bin'), 'content');
  await writeFile(`${paths.versionFolder}.state`, 'bits');
  if (!visible) return;
  const parent = path.dirname(paths.link);
  await mkdir(parent, { recursive: true });
  await rm(paths.link, { force: true });
  await symlink(path.relative(parent, paths.versionFolder), paths.link);
}

const left = async () => (await readdir(root, { recursive: true })).sort();

describe('a tombstone', () => {
  it('leaves nothing of a distribution behind', async () => {
    await place('u-1', 1, 'a/b/model');
    await place('u-1', 2, 'a/b/model');
    expect(await deleteVersions(root, 'u-1', undefined)).toEqual([1, 2]);
    expect(await left()).toEqual([]);
  });

  it('of one epoch keeps the link to another', async () => {
    await place('u-1', 1, 'model');
    await place('u-1', 2, 'model');
    expect(await deleteVersions(root, 'u-1', 1)).toEqual([1]);
    expect(await left()).toContain('ns/model');
    expect(await left()).toContain('ns/.sluice/u-1/2/file.bin');
    expect(await left()).not.toContain('ns/.sluice/u-1/1.state');
  });

  it('deletes a version that was never made visible', async () => {
    await place('u-1', 1, 'model', false);
    expect(await deleteVersions(root, 'u-1', undefined)).toEqual([1]);
    expect(await left()).toEqual([]);
  });

  it('keeps what others put there: files, links, other distributions', async () => {
    await place('u-1', 1, 'a/model');
    await place('u-2', 1, 'a/other');
    await writeFile(path.join(root, 'ns/a/notes.txt'), 'mine');
    await deleteVersions(root, 'u-1', undefined);
    const kept = await left();
    expect(kept).toContain('ns/a/notes.txt');
    expect(kept).toContain('ns/a/other');
    expect(kept).toContain('ns/.sluice/u-2/1/file.bin');
    expect(kept).not.toContain('ns/a/model');
  });

  it('does not remove a link that leads elsewhere, nor follow folders out of the namespace', async () => {
    const outside = await mkdtemp(path.join(tmpdir(), 'sluice-outside-'));
    await place('u-1', 1, 'x/model', false);
    await symlink(outside, path.join(root, 'ns/x'));
    await symlink('/nowhere', path.join(outside, 'model'));
    await deleteVersions(root, 'u-1', undefined);
    expect(await readdir(outside)).toEqual(['model']);
    await rm(outside, { recursive: true });
  });

  it("goes through a namespace's folder that is a link, which stays, and past what is no folder", async () => {
    await mkdir(path.join(root, 'disk/of-it'), { recursive: true });
    await symlink('disk/of-it', path.join(root, 'ns'));
    await symlink('nowhere', path.join(root, 'lost'));
    await writeFile(path.join(root, 'notes'), 'mine');
    await place('u-1', 1, 'a/model');
    expect(await deleteVersions(root, 'u-1', undefined)).toEqual([1]);
    expect(await left()).toEqual(['disk', 'disk/of-it', 'lost', 'notes', 'ns']);
  });

  it('of something unknown deletes nothing', async () => {
    await place('u-1', 1, 'model');
    const before = await left();
    expect(await deleteVersions(root, 'u-9', undefined)).toEqual([]);
    expect(await left()).toEqual(before);
  });
});
