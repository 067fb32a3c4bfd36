/**
 * What versions take of this node's disk. To a namespace its versions count by the sizes of their
 * sets, as the lists beside them say, whole or not, whether or not they share bytes. Only what is
 * still to be written is measured: no disk says for whom its free space is.
 */
import path from 'node:path';
import { listedBytes } from '@sluice/engine/adapters/file/earlierVersions.ts';
import { epochsIn, namesIn } from '@sluice/protocol/client/epochFolders.ts';
import { type SizedFile, unwrittenBytes } from './unwritten.ts';
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
  /** By folder of the version: the files of what is being made or served now. */
  readonly #open = new Map<string, readonly SizedFile[]>();
  /** By namespace and version, as read: a version's list does not change while nobody makes it. */
  readonly #listed = new Map<string, ReadonlyMap<string, number>>();
  #turn: Promise<void> = Promise.resolve();

  /**
   * Counts the version from now on, unless `judge` throws. One after the other: what two of them
   * found free only one may have.
   */
  admit(
    version: Version,
    files: readonly SizedFile[],
    judge: (others: OthersUse) => Promise<void>,
  ): Promise<void> {
    const admitted = this.#turn.then(async () => {
      await judge({
        usedBytes: () => this.#usedBeside(version),
        unwrittenBytes: () => this.#unwrittenBeside(version),
      });
      this.#open.set(version.versionFolder, files);
    });
    this.#turn = admitted.catch(() => {});
    return admitted;
  }

  /** Nobody is at work on it: what is on the disk of it counts by its list. */
  release({ namespaceFolder, versionFolder }: Version): void {
    this.#open.delete(versionFolder);
    const listed = new Map(this.#listed.get(namespaceFolder));
    if (listed.delete(versionFolder)) this.#listed.set(namespaceFolder, listed);
  }

  async #unwrittenBeside({ versionFolder }: Version): Promise<number> {
    let sum = 0;
    for (const [folder, files] of this.#open) {
      if (folder !== versionFolder) sum += await unwrittenBytes(folder, files);
    }
    return sum;
  }

  async #usedBeside({ namespaceFolder, versionFolder }: Version): Promise<number> {
    const own = `${namespaceFolder}/`;
    let sum = 0;
    for (const [folder, files] of this.#open) {
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
