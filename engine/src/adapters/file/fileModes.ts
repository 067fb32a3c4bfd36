import type { FileSystem, OpenedFile } from './fileSystem.ts';
import type { OpenFiles } from './openFiles.ts';
import type { StateFile } from './stateFile.ts';

export interface FileModesDependencies {
  readonly fileSystem: FileSystem;
  /** Of the paths, in their order. */
  readonly files: OpenFiles;
}

/**
 * The permissions of a version's files. When they are set the kernel notes that the files were
 * changed, as it does for anybody's write: the state file is written afterwards, and whoever
 * compares the two waits for `changes` first.
 */
export class FileModes {
  readonly #paths: readonly string[];
  readonly #dependencies: FileModesDependencies;
  #mode: number | undefined;
  #changes: Promise<void> = Promise.resolve();

  /** `mode` undefined: as they are. */
  constructor(
    paths: readonly string[],
    mode: number | undefined,
    dependencies: FileModesDependencies,
  ) {
    this.#paths = paths;
    this.#mode = mode;
    this.#dependencies = dependencies;
  }

  /** What is under way, or was last: another promise for each change. Never rejects. */
  get changes(): Promise<void> {
    return this.#changes;
  }

  /** From now on. False: it is so already. */
  choose(mode: number): boolean {
    if (this.#mode === mode) return false;
    this.#mode = mode;
    return true;
  }

  /** One after the other: of two at once the earlier mode could come out last. */
  set(state: StateFile, signal: AbortSignal): Promise<void> {
    const setting = this.#changes.then(() => this.#set(state, signal));
    this.#changes = setting.catch(() => {});
    return setting;
  }

  async #set(state: StateFile, signal: AbortSignal): Promise<void> {
    const { fileSystem, files } = this.#dependencies;
    const mode = this.#mode;
    if (mode === undefined) return;
    let changed = false;
    try {
      for (const [index, at] of this.#paths.entries()) {
        signal.throwIfAborted();
        if ((await fileSystem.facts(at))?.mode === mode) continue;
        changed = true;
        await files.use([index], 'read', async ([file]) => {
          await (file as OpenedFile).setMode(mode);
          await (file as OpenedFile).sync();
        });
      }
    } finally {
      // The later of the two again; also of those that were done, or all would be hashed for nothing.
      if (changed) await state.setWhole(state.isWhole);
    }
  }
}
