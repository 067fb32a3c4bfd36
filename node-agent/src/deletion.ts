/**
 * Carrying out tombstones. A tombstone names a distribution and not its path, so the agent notes
 * beside the versions where they were made visible. Nothing that the agent did not put there is
 * deleted: of links only those into the deleted version, of folders only empty ones.
 */
import { mkdir, readFile, readlink, realpath, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { nodeFileSystem } from '@sluice/engine/adapters/file/nodeFileSystem.ts';
import {
  deleteEpoch,
  epochsIn,
  namesIn,
  removeIfEmpty,
} from '@sluice/protocol/client/epochFolders.ts';
import { HIDDEN_FOLDER, realNamespaceFolder, type VersionPaths } from './versionPaths.ts';

const NOTE = 'link';

/** Before the first byte of a version: where its distribution becomes visible. */
export async function noteLink({ namespaceFolder, distributionFolder, link }: VersionPaths) {
  await mkdir(distributionFolder, { recursive: true, mode: 0o755 });
  const note = path.join(distributionFolder, NOTE);
  // Replaced in one step: a crash leaves the old note or the new one.
  await writeFile(`${note}.new`, path.relative(namespaceFolder, link));
  await rename(`${note}.new`, note);
}

/** Deletes one epoch of a distribution, or all; answers which there were, in any namespace. */
export async function deleteVersions(
  root: string,
  uid: string,
  epoch: number | undefined,
): Promise<number[]> {
  const deleted: number[] = [];
  for (const namespace of await namesIn(root)) {
    const named = path.join(root, namespace);
    const namespaceFolder = await realNamespaceFolder(named);
    if (namespaceFolder === undefined) continue;
    const folder = path.join(namespaceFolder, HIDDEN_FOLDER, uid);
    for (const each of await epochsIn(folder)) {
      if (epoch !== undefined && each !== epoch) continue;
      await removeLink(namespaceFolder, folder, each);
      await deleteEpoch(folder, each, nodeFileSystem.remove);
      deleted.push(each);
    }
    await removeIfUnused(folder);
    // What a link leads to stays for the next one.
    if (namespaceFolder === named) await removeIfEmpty(named);
  }
  return deleted;
}

/** The link goes first: nobody follows it into a folder that is being deleted. */
async function removeLink(namespaceFolder: string, folder: string, epoch: number): Promise<void> {
  const link = await linkOf(namespaceFolder, folder);
  if (link === undefined) return;
  const parent = await realpath(path.dirname(link)).catch(() => undefined);
  const inside = await realpath(namespaceFolder);
  if (parent === undefined || !`${parent}/`.startsWith(`${inside}/`)) return;
  const to = await readlink(link).catch(() => undefined);
  if (to === undefined) return;
  if (path.resolve(parent, to) !== path.join(await realpath(folder), String(epoch))) return;
  await rm(link, { force: true });
  let empty = parent;
  while (empty !== inside) {
    await removeIfEmpty(empty);
    empty = path.dirname(empty);
  }
}

/** Where the distribution is to be visible, as was noted. */
export async function linkOf(namespaceFolder: string, folder: string): Promise<string | undefined> {
  const relative = await readFile(path.join(folder, NOTE), 'utf8').catch(() => '');
  const link = path.resolve(namespaceFolder, relative);
  return relative !== '' && link.startsWith(`${namespaceFolder}/`) ? link : undefined;
}

async function removeIfUnused(folder: string): Promise<void> {
  const names = await namesIn(folder);
  if (names.some((name) => name !== NOTE && name !== `${NOTE}.new`)) return;
  for (const name of names) await rm(path.join(folder, name), { force: true });
  await removeIfEmpty(folder);
  await removeIfEmpty(path.dirname(folder));
}
