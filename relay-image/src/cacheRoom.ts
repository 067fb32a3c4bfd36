/**
 * Room in the relay's cache. A relay that pulled more than its node has room for would be evicted by
 * the kubelet, and the next one would pull all of it again.
 */
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { checkSpace, diskSpaceOf, givenBytes } from '@sluice/engine/adapters/file/diskSpace.ts';
import { OpenVersions } from '@sluice/engine/adapters/file/openVersions.ts';
import { type SizedFile, unwrittenBytes } from '@sluice/engine/adapters/file/unwritten.ts';

export interface CacheRoomOptions {
  readonly cacheFolder: string;
  /** Of the file system that has the cache. */
  readonly minFreePercent: number;
  /** All that the cache may take; 0: as much as the file system has. */
  readonly maxCacheBytes: number;
}

export class CacheRoom {
  readonly #options: CacheRoomOptions;
  readonly #open = new OpenVersions();

  constructor(options: CacheRoomOptions) {
    this.#options = options;
  }

  /** Before the first byte, and each time that a version is gone on with. Throws when there is none. */
  async make(folder: string, files: readonly SizedFile[]): Promise<void> {
    const { cacheFolder, minFreePercent, maxCacheBytes } = this.#options;
    await this.#open.admit(folder, files, async (others) => {
      const neededBytes = await unwrittenBytes(folder, files);
      // First: what is written meanwhile counts twice, and not as space that nobody needs.
      const demand = { neededBytes, promisedBytes: await others() };
      checkSpace(await diskSpaceOf(cacheFolder), demand, minFreePercent);
      if (maxCacheBytes === 0) return;
      const freeBytes = Math.max(0, maxCacheBytes - (await takenBytes(cacheFolder)));
      checkSpace({ freeBytes, totalBytes: maxCacheBytes }, demand, 0);
    });
  }

  release(folder: string): void {
    this.#open.release(folder);
  }
}

/** What is deleted meanwhile takes nothing; what is beside it counts, so each folder is asked alone. */
export async function takenBytes(
  folder: string,
  entriesOf = (at: string) => readdir(at, { withFileTypes: true }),
): Promise<number> {
  let sum = 0;
  for (const entry of (await unlessGone(() => entriesOf(folder))) ?? []) {
    const at = path.join(folder, entry.name);
    if (entry.isDirectory()) sum += await takenBytes(at, entriesOf);
    else if (entry.isFile()) sum += givenBytes(await unlessGone(() => lstat(at)));
  }
  return sum;
}

/** Gone, or of another user, such as a volume's `lost+found`. */
const NOT_OURS: ReadonlySet<string> = new Set(['ENOENT', 'EACCES']);

/** Of what fails otherwise nobody can tell how much it is: it is not nothing. */
async function unlessGone<Found>(look: () => Promise<Found>): Promise<Found | undefined> {
  try {
    return await look();
  } catch (error) {
    if (NOT_OURS.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
