/** Where things are kept outside the checkout. */
import { homedir } from 'node:os';
import path from 'node:path';

/** The repository's root. */
export const repositoryRoot = path.resolve(import.meta.dirname, '../..');

/** Built once and kept: binaries, base images, images. */
export function cacheFolder(): string {
  return process.env.SLUICE_CACHE || path.join(homedir(), '.cache/sluice');
}

/** One folder for each cluster that runs: logs, disks of the nodes, keys. */
export function clustersFolder(): string {
  return path.join(cacheFolder(), 'clusters');
}
