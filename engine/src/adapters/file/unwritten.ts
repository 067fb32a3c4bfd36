import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { givenBytes } from './diskSpace.ts';
import { unnotedBytes } from './earlierVersions.ts';

export interface SizedFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/**
 * Bytes of a version that the disk has not given any space for. Its files have their sizes from the
 * start, but take space only as they are written; a disk that compresses never gives them all that
 * they are long, but what is noted as written is.
 */
export async function unwrittenBytes(
  versionFolder: string,
  files: readonly SizedFile[],
): Promise<number> {
  const missing = await Promise.all(
    files.map(async ({ path: relative, sizeBytes }) => {
      const facts = await lstat(path.join(versionFolder, relative)).catch(() => undefined);
      const bytes = Math.max(0, sizeBytes - givenBytes(facts));
      return { bytes, isThere: facts?.size === sizeBytes };
    }),
  );
  const byBlocks = missing.reduce((sum, { bytes }) => sum + bytes, 0);
  if (byBlocks === 0 || !missing.every(({ isThere }) => isThere)) return byBlocks;
  return Math.min(byBlocks, (await unnotedBytes(versionFolder)) ?? byBlocks);
}
