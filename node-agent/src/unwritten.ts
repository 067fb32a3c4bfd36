import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { isWholeVersion } from '@sluice/engine/adapters/file/earlierVersions.ts';

export interface SizedFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** What the kernel counts blocks in, whatever the disk's are. */
const BLOCK_BYTES = 512;

/**
 * Bytes of a version that the disk has not given any space for. Its files have their sizes from the
 * start, but take space only as they are written.
 */
export async function unwrittenBytes(
  versionFolder: string,
  files: readonly SizedFile[],
): Promise<number> {
  const isWhole = await isWholeVersion(versionFolder);
  const missing = files.map(async ({ path: relative, sizeBytes }) => {
    const facts = await lstat(path.join(versionFolder, relative)).catch(() => undefined);
    // A disk that compresses never gives it all that it is long.
    if (isWhole && facts?.size === sizeBytes) return 0;
    return Math.max(0, sizeBytes - (facts?.blocks ?? 0) * BLOCK_BYTES);
  });
  return (await Promise.all(missing)).reduce((sum, bytes) => sum + bytes, 0);
}
