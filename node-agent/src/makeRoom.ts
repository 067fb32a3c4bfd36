import { mkdir, stat } from 'node:fs/promises';
import { checkSpace, diskSpaceOf } from '@sluice/engine/adapters/file/diskSpace.ts';
import { unwrittenBytes } from '@sluice/engine/adapters/file/unwritten.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { checkShare } from './diskGuard.ts';
import type { DiskUse } from './diskUse.ts';
import { type NamespaceShares, shareBytes } from './namespaceShares.ts';
import type { VersionPaths } from './versionPaths.ts';

export interface RoomOptions {
  readonly minFreePercent: number;
  readonly namespaceShares: NamespaceShares;
}

/**
 * Before the first byte, and each time that a version is gone on with: it has its place then, but
 * what it lacks may have become another's. Throws when there is no room.
 */
export async function makeRoom(
  paths: VersionPaths,
  { namespace, files }: Pick<Task, 'namespace' | 'files'>,
  { minFreePercent, namespaceShares }: RoomOptions,
  diskUse: DiskUse,
): Promise<void> {
  const { namespaceFolder, versionFolder } = paths;
  await mkdir(namespaceFolder, { recursive: true, mode: 0o755 });
  await diskUse.admit(paths, files, async (others) => {
    const neededBytes = await unwrittenBytes(versionFolder, files);
    // Whatever others do, it takes no more.
    if (neededBytes === 0) return;
    // First: what is written meanwhile counts twice, and not as space that nobody needs.
    const promisedBytes = await others.unwrittenBytes();
    const space = await diskSpaceOf(namespaceFolder);
    const share = shareBytes(namespaceShares, namespace, space.totalBytes);
    if (Number.isFinite(share) && !(await isBegun(versionFolder))) {
      const usedBytes = await others.usedBytes();
      checkShare({ namespace, neededBytes, usedBytes }, share);
    }
    checkSpace(space, { neededBytes, promisedBytes }, minFreePercent);
  });
}

/** To its namespace it counts already, with all that it will be. */
function isBegun(versionFolder: string): Promise<boolean> {
  return stat(versionFolder).then(
    () => true,
    () => false,
  );
}
