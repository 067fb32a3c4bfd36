/**
 * What versions take of this node's disk. To a namespace its versions count by the sizes of their
 * sets, as the lists beside them say, whole or not, whether or not they share bytes. Only what is
 * still to be written is measured: no disk says for whom its free space is.
 */
import path from 'node:path';
import { listedBytes } from '@sluice/engine/adapters/file/earlierVersions.ts';
import { OpenVersions } from '@sluice/engine/adapters/file/openVersions.ts';
import type { SizedFile } from '@sluice/engine/adapters/file/unwritten.ts';
import { epochsIn, namesIn } from '@sluice/protocol/client/epochFolders.ts';
import { HIDDEN_FOLDER, type VersionPaths } from './versionPaths.ts';

type Version = Pick<VersionPaths, 'namespaceFolder' | 'versionFolder'>;

/** Of all versions but the one that is judged. */
export interface OthersUse {
  /** Those of its namespace. */
  usedBytes(): Promise<number>;
  /** Those that are being made, in any namespace: they have been let in, and take it from what is free. */
  unwrittenBytes(): Promise<number>;
}

export class DiskUse {
  readonly #open = new OpenVersions();
  /** By namespace and version, as read: a version's list does not change while nobody makes it. */
  readonly #listed = new Map<string, ReadonlyMap<string, number>>();

  /** Counts the version from now on, unless `judge` throws. One after the other. */
  admit(
    version: Version,
    files: readonly SizedFile[],
    judge: (others: OthersUse) => Promise<void>,
  ): Promise<void> {
    return this.#open.admit(version.versionFolder, files, (unwrittenBytes) =>
      judge({ usedBytes: () => this.#usedBeside(version), unwrittenBytes }),
    );
  }

  /** Nobody is at work on it: what is on the disk of it counts by its list. */
  release({ namespaceFolder, versionFolder }: Version): void {
    this.#open.release(versionFolder);
    const listed = new Map(this.#listed.get(namespaceFolder));
    if (listed.delete(versionFolder)) this.#listed.set(namespaceFolder, listed);
  }

  async #usedBeside({ namespaceFolder, versionFolder }: Version): Promise<number> {
    const own = `${namespaceFolder}/`;
    let sum = 0;
    for (const [folder, files] of this.#open.entries()) {
      if (folder !== versionFolder && folder.startsWith(own)) sum += sizeOf(files);
    }
    const before = this.#listed.get(namespaceFolder);
    const listed = new Map<string, number>();
    for (const folder of await versionsIn(namespaceFolder)) {
      if (folder === versionFolder || this.#open.has(folder)) continue;
      const sizeBytes = before?.get(folder) ?? (await listedBytes(folder));
      if (sizeBytes !== undefined) listed.set(folder, sizeBytes);
    }
    this.#listed.set(namespaceFolder, listed);
    return [...listed.values()].reduce((total, sizeBytes) => total + sizeBytes, sum);
  }
}

function sizeOf(files: readonly SizedFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

async function versionsIn(namespaceFolder: string): Promise<string[]> {
  const hidden = path.join(namespaceFolder, HIDDEN_FOLDER);
  const folders: string[] = [];
  for (const uid of await namesIn(hidden)) {
    const distribution = path.join(hidden, uid);
    for (const epoch of await epochsIn(distribution)) {
      folders.push(path.join(distribution, String(epoch)));
    }
  }
  return folders;
}
