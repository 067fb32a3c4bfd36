import { mkdir, stat } from 'node:fs/promises';
import type { Task } from '@sluice/protocol/messages.ts';
import { checkShare, checkSpace, diskSpaceOf } from './diskGuard.ts';
import type { DiskUse } from './diskUse.ts';
import { type NamespaceShares, shareBytes } from './namespaceShares.ts';
import type { VersionPaths } from './versionPaths.ts';

export interface RoomOptions {
  readonly minFreePercent: number;
  readonly namespaceShares: NamespaceShares;
}

/** Before the first byte; a version that was begun has its space already. Throws when there is none. */
export async function makeRoom(
  paths: VersionPaths,
  { namespace, files }: Pick<Task, 'namespace' | 'files'>,
  { minFreePercent, namespaceShares }: RoomOptions,
  diskUse: DiskUse,
): Promise<void> {
  const { namespaceFolder, versionFolder } = paths;
  await mkdir(namespaceFolder, { recursive: true, mode: 0o755 });
  const neededBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  await diskUse.admit(paths, neededBytes, async (usedBytes) => {
    const begun = await stat(versionFolder).then(
      () => true,
      () => false,
    );
    if (begun) return;
    const space = await diskSpaceOf(namespaceFolder);
    const share = shareBytes(namespaceShares, namespace, space.totalBytes);
    if (Number.isFinite(share)) {
      checkShare({ namespace, neededBytes, usedBytes: await usedBytes() }, share);
    }
    checkSpace(space, neededBytes, minFreePercent);
  });
}
