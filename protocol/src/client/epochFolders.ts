import { mkdir, readdir, realpath, rmdir } from 'node:fs/promises';
import path from 'node:path';

/**
 * The folder of one distribution on a disk: `<epoch>/` is a version, `<epoch>.*` beside it what
 * the store keeps of it. Nothing else in it is ever touched.
 */
export async function epochsIn(folder: string): Promise<number[]> {
  const epochs = new Set<number>();
  for (const name of await namesIn(folder)) {
    const match = /^(\d{1,15})(\..*)?$/.exec(name);
    if (match !== null) epochs.add(Number(match[1]));
  }
  return [...epochs].sort((a, b) => a - b);
}

/** `remove`: what is there, with all that is in it. */
export async function deleteEpoch(
  folder: string,
  epoch: number,
  remove: (path: string) => Promise<void>,
): Promise<void> {
  for (const name of await namesIn(folder)) {
    if (name !== String(epoch) && !name.startsWith(`${epoch}.`)) continue;
    await remove(path.join(folder, name));
  }
}

/** Removes a folder when nothing is left in it. */
export async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(error.code ?? '')) throw error;
  });
}

/** Makes the folder where it is missing; answers the path of it that leads through no link. */
export async function realFolder(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true, mode: 0o755 });
  return realpath(folder);
}

/** Empty when there is no such folder. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw error;
  }
}
