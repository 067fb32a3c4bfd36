import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import path from 'node:path';
import { StoreError } from './storeError.ts';

/** Makes folders one by one under `base`; a link or file in between is refused. */
export async function makeFolders(base: string, relative: string): Promise<string> {
  let at = base;
  for (const segment of relative.split('/').filter((each) => each !== '' && each !== '.')) {
    if (segment === '..') throw new StoreError('PathConflict', `${relative} leads out of ${base}`);
    at = path.join(at, segment);
    await mkdir(at, { mode: 0o755 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    if (!(await lstat(at)).isDirectory()) {
      throw new StoreError('PathConflict', `${at} is in the way: it is no folder`);
    }
  }
  return at;
}

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Lets `link` lead to the version's folder, in one step. What stands there already must be a link
 * to a version: nothing that users put there is replaced.
 */
export async function placeLink(link: string, folder: string): Promise<void> {
  const base = commonFolder(link, folder);
  const parent = await makeFolders(base, path.relative(base, path.dirname(link)));
  const versions = path.dirname(path.dirname(folder));
  const standing = await readlink(link).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new StoreError('PathConflict', `${link} is in the way: it is no link of ours`, error);
  });
  if (standing !== undefined && !path.resolve(parent, standing).startsWith(`${versions}/`)) {
    throw new StoreError('PathConflict', `${link} is in the way: it leads to ${standing}`);
  }
  const target = path.relative(parent, folder);
  if (standing === target) return;
  const fresh = `${folder}.link`;
  await rm(fresh, { force: true });
  await symlink(target, fresh);
  await rename(fresh, link);
  await syncFolder(parent);
}

/** Of the versions beside this one, the newest older one is kept: pods may still run on it. */
export async function removeOlderVersions(folder: string, keep = 1): Promise<void> {
  const parent = path.dirname(folder);
  const own = Number(path.basename(folder));
  if (!Number.isInteger(own)) return;
  const names = await readdir(parent);
  const epochs = new Set(names.map((name) => Number(/^\d+/.exec(name)?.[0] ?? Number.NaN)));
  const older = [...epochs].filter((epoch) => epoch < own).sort((a, b) => b - a);
  for (const epoch of older.slice(keep)) {
    for (const name of names) {
      if (name !== String(epoch) && !name.startsWith(`${epoch}.`)) continue;
      await rm(path.join(parent, name), { recursive: true, force: true });
    }
  }
}

function commonFolder(a: string, b: string): string {
  let common = path.dirname(a);
  while (!`${b}/`.startsWith(common === '/' ? '/' : `${common}/`)) common = path.dirname(common);
  return common;
}
