/** Where things are kept outside the checkout. */
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

/** The repository's root. */
export const repositoryRoot = path.resolve(import.meta.dirname, '../..');

/** Built once and kept: binaries, base images, images. */
export function cacheFolder(): string {
  return process.env.SLUICE_CACHE || path.join(homedir(), '.cache/sluice');
}

/** Images as docker-archives, named after their content. */
export function imagesFolder(): string {
  return path.join(cacheFolder(), 'images');
}

/** One folder for each cluster that runs: logs, disks of the nodes, keys. */
export function clustersFolder(): string {
  return path.join(cacheFolder(), 'clusters');
}

/** Whether a part of the cache is there; if so, it counts as used now. */
export async function touch(file: string): Promise<boolean> {
  const now = new Date();
  return utimes(file, now, now).then(
    () => true,
    () => false,
  );
}

/** Long enough for every run that still needs what it found. */
const UNUSED_MS = 2 * 60 * 60_000;

/**
 * Removes what nobody has touched for two hours: each change of a source makes new images, and
 * those of before are not needed for long.
 */
export async function removeUnused(
  folder: string,
  isMeant: (name: string) => boolean = () => true,
): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (!isMeant(name)) continue;
    const file = path.join(folder, name);
    const found = await stat(file).catch(() => undefined);
    if (found === undefined || Date.now() - found.mtimeMs < UNUSED_MS) continue;
    await rm(file, { recursive: true, force: true });
  }
}
