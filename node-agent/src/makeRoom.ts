import { stat } from 'node:fs/promises';
import {
  checkSpace,
  DiskPressureError,
  diskSpaceOf,
} from '@sluice/engine/adapters/file/diskSpace.ts';
import { unwrittenBytes } from '@sluice/engine/adapters/file/unwritten.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { checkShare, NamespaceShareError } from './diskGuard.ts';
import type { DiskUse, OthersUse } from './diskUse.ts';
import { type NamespaceShares, shareBytes } from './namespaceShares.ts';
import { bytesInWords, namesInWords, type Orphans } from './orphans.ts';
import type { VersionPaths } from './versionPaths.ts';

export interface RoomOptions {
  readonly minFreePercent: number;
  readonly namespaceShares: NamespaceShares;
}

export interface RoomDependencies {
  readonly diskUse: DiskUse;
  readonly orphans: Pick<Orphans, 'list'>;
}

type RoomTask = Pick<Task, 'namespace' | 'files'>;

/**
 * Before the first byte, and each time that a version is gone on with: it has its place then, but
 * what it lacks may have become another's. Throws when there is no room.
 */
export async function makeRoom(
  paths: VersionPaths,
  task: RoomTask,
  options: RoomOptions,
  { diskUse, orphans }: RoomDependencies,
): Promise<void> {
  await diskUse.admit(paths, task.files, async (others) => {
    try {
      await judge(paths, task, options, others);
    } catch (error) {
      throw await withOrphans(error, task, orphans);
    }
  });
}

async function judge(
  { namespaceFolder, versionFolder }: VersionPaths,
  { namespace, files }: RoomTask,
  { minFreePercent, namespaceShares }: RoomOptions,
  others: OthersUse,
): Promise<void> {
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
}

/** A refusal says what could make room, and tells nobody the names in other namespaces. */
async function withOrphans(
  error: unknown,
  { namespace }: RoomTask,
  orphans: RoomDependencies['orphans'],
): Promise<unknown> {
  if (error instanceof NamespaceShareError) {
    const own = (await orphans.list(namespace)) ?? [];
    const words = bytesInWords(own);
    if (words === undefined) return error;
    return new NamespaceShareError(`${error.message}; it has ${words}: ${namesInWords(own)}`);
  }
  if (error instanceof DiskPressureError) {
    const words = bytesInWords((await orphans.list()) ?? []);
    return words === undefined ? error : new DiskPressureError(`${error.message}; it has ${words}`);
  }
  return error;
}

/** To its namespace it counts already, with all that it will be. */
function isBegun(versionFolder: string): Promise<boolean> {
  return stat(versionFolder).then(
    () => true,
    () => false,
  );
}
