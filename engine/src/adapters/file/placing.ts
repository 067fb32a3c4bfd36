import path from 'node:path';
import type { FileSystem } from './fileSystem.ts';
import { StoreError } from './storeError.ts';

/** Makes folders one by one under `base`; a link or file in between is refused. */
export async function makeFolders(
  base: string,
  relative: string,
  fileSystem: FileSystem,
): Promise<string> {
  let at = base;
  for (const segment of relative.split('/').filter((each) => each !== '' && each !== '.')) {
    if (segment === '..') throw new StoreError('PathConflict', `${relative} leads out of ${base}`);
    at = path.join(at, segment);
    if ((await kindAfterMaking(at, fileSystem)) !== 'folder') {
      throw new StoreError('PathConflict', `${at} is in the way: it is no folder`);
    }
  }
  return at;
}

/** With its parents. */
export async function ensureFolder(folder: string, fileSystem: FileSystem): Promise<void> {
  if ((await fileSystem.facts(folder)) !== undefined) return;
  await ensureFolder(path.dirname(folder), fileSystem);
  await kindAfterMaking(folder, fileSystem);
}

async function kindAfterMaking(folder: string, fileSystem: FileSystem) {
  const standing = await fileSystem.facts(folder);
  if (standing !== undefined) return standing.kind;
  await fileSystem.makeFolder(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  return (await fileSystem.facts(folder))?.kind;
}

/** Puts the entries of the folder and of all above it, up to `top` itself, on the disk. */
export async function syncFoldersUpTo(
  top: string,
  folders: Iterable<string>,
  fileSystem: FileSystem,
): Promise<void> {
  const all = new Set<string>();
  for (const folder of folders) {
    let at = folder;
    while (!all.has(at) && `${at}/`.startsWith(top === '/' ? top : `${top}/`)) {
      all.add(at);
      at = path.dirname(at);
    }
  }
  for (const folder of all) await fileSystem.syncFolder(folder);
}

/**
 * Lets `link` lead to the version's folder, in one step. What stands there already must be a link
 * to a version: nothing that users put there is replaced. Rejects, and has changed nothing, when it is
 * aborted before that step.
 */
export async function placeLink(
  link: string,
  folder: string,
  fileSystem: FileSystem,
  signal: AbortSignal,
): Promise<void> {
  const base = commonFolder(link, folder);
  const parent = await makeFolders(base, path.relative(base, path.dirname(link)), fileSystem);
  const versions = path.dirname(path.dirname(folder));
  const standing = await fileSystem.readLink(link).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EINVAL') throw error;
    throw new StoreError('PathConflict', `${link} is in the way: it is no link of ours`, error);
  });
  if (standing !== undefined && !path.resolve(parent, standing).startsWith(`${versions}/`)) {
    throw new StoreError('PathConflict', `${link} is in the way: it leads to ${standing}`);
  }
  const target = path.relative(parent, folder);
  if (standing !== target) {
    const fresh = `${folder}.link`;
    await fileSystem.remove(fresh);
    await fileSystem.makeLink(target, fresh);
    signal.throwIfAborted();
    await fileSystem.rename(fresh, link);
  }
  // Also when it stands: the crash of the process may have come before this.
  await syncFoldersUpTo(base, [parent], fileSystem);
}

/** The lowest folder that both are in. */
export function commonFolder(a: string, b: string): string {
  let common = path.dirname(a);
  while (!`${b}/`.startsWith(common === '/' ? '/' : `${common}/`)) common = path.dirname(common);
  return common;
}
