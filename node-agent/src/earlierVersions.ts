import { readlink } from 'node:fs/promises';
import path from 'node:path';
import { wholeVersions } from '@sluice/engine/adapters/file/earlierVersions.ts';
import { epochsIn } from '@sluice/protocol/client/epochFolders.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { donorFolderOf, HIDDEN_FOLDER, type VersionPaths } from './versionPaths.ts';

/**
 * Folders of versions on this node that may have what a new one needs: the one that is visible
 * where it will be, another distribution's perhaps, and then its own earlier epochs, newest first.
 */
export async function earlierVersions(paths: VersionPaths): Promise<string[]> {
  const { distributionFolder, versionFolder } = paths;
  const epoch = Number(path.basename(versionFolder));
  const earlier = (await epochsIn(distributionFolder)).filter((each) => each < epoch).reverse();
  const folders = earlier.map((each) => path.join(distributionFolder, String(each)));
  const visible = await visibleVersion(paths);
  if (visible !== undefined && visible !== versionFolder) folders.unshift(visible);
  return [...new Set(folders)];
}

/** Folders of versions of other distributions that the task may use, and that are whole here. */
export async function wholeDonors(
  root: string,
  { donors = [] }: Pick<Task, 'donors'>,
): Promise<string[]> {
  const folders = await Promise.all(donors.map((donor) => donorFolderOf(root, donor)));
  return wholeVersions(folders.filter((folder) => folder !== undefined));
}

/** Undefined: nothing is there, or no version of this namespace. */
async function visibleVersion({ namespaceFolder, link }: VersionPaths) {
  const to = await readlink(link).catch(() => undefined);
  if (to === undefined) return undefined;
  const folder = path.resolve(path.dirname(link), to);
  const [hidden, uid, epoch, ...more] = path.relative(namespaceFolder, folder).split('/');
  const isVersion = hidden === HIDDEN_FOLDER && uid !== undefined && /^\d+$/.test(epoch ?? '');
  return isVersion && more.length === 0 ? folder : undefined;
}
