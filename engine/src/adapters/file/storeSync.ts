import path from 'node:path';
import type { Layout } from '../../pieces/layout.ts';
import type { Clock, Timer } from '../../ports/clock.ts';
import { eachOf } from './eachOf.ts';
import type { FileSystem, OpenedFile } from './fileSystem.ts';
import type { OpenFiles } from './openFiles.ts';
import { commonFolder, syncFoldersUpTo } from './placing.ts';
import type { StateFile } from './stateFile.ts';

export interface StoreSyncOptions {
  readonly layout: Layout;
  /** Of the version. */
  readonly folder: string;
  readonly link: string | undefined;
}

export interface StoreSyncDependencies {
  readonly clock: Clock;
  readonly fileSystem: FileSystem;
  readonly files: OpenFiles;
}

const SYNC_INTERVAL_MS = 1000;
/** The disk's queue is better used by a few at once, and its journal written less often. */
export const SYNCS_AT_ONCE = 8;

/**
 * Puts the pieces of a store on the disk, each second, and then marks them so: bytes, the folders
 * in which they are found, the mark. In the thread pool, not in the thread that hashes.
 */
export class StoreSync {
  readonly #options: StoreSyncOptions;
  readonly #dependencies: StoreSyncDependencies;
  /** That hold files. */
  readonly #folders = new Set<string>();
  #unsynced = new Set<number>();
  /** They were written before the sync that is under way began. */
  #underSync = new Set<number>();
  #foldersSynced = false;
  #state: StateFile | undefined;
  #syncing: Promise<void> = Promise.resolve();
  #error: unknown;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: StoreSyncOptions, dependencies: StoreSyncDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  /** What the disk said when it was to make bytes durable; nobody knows what it has of them. */
  get error(): unknown {
    return this.#error;
  }

  addFolder(folder: string): boolean {
    if (this.#folders.has(folder)) return false;
    this.#folders.add(folder);
    return true;
  }

  /** It is written, and noted as that. */
  add(piece: number): void {
    this.#unsynced.add(piece);
  }

  /** What was written of it counts no more: a sync that is under way says nothing of what comes. */
  forget(piece: number): void {
    this.#unsynced.delete(piece);
    this.#underSync.delete(piece);
  }

  start(state: StateFile): void {
    this.#state = state;
    this.#later();
  }

  /** After what is under way; never rejects, see `error`. */
  now(): Promise<void> {
    this.#syncing = this.#syncing
      .then(() => this.#sync())
      .catch((error) => {
        this.#error ??= error;
      });
    return this.#syncing;
  }

  /** What is on the disk must also be found there. */
  async syncFolders(): Promise<void> {
    const { folder, link } = this.#options;
    const parent = path.dirname(folder);
    const top = link === undefined ? parent : path.dirname(commonFolder(link, folder));
    await syncFoldersUpTo(top, [...this.#folders, parent], this.#dependencies.fileSystem);
    this.#foldersSynced = true;
  }

  /** Once more, and no more after that. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    return this.now();
  }

  #later(): void {
    if (this.#stopped) return;
    this.#timer = this.#dependencies.clock.setTimer(SYNC_INTERVAL_MS, () => {
      void this.now().then(() => this.#later());
    });
  }

  async #sync(): Promise<void> {
    const pieces = this.#unsynced;
    if (pieces.size === 0 || this.#state === undefined) return;
    this.#unsynced = new Set();
    this.#underSync = pieces;
    const { layout } = this.#options;
    const { files } = this.#dependencies;
    try {
      const touched = new Set(
        [...pieces].flatMap((piece) => layout.spans(piece).map(({ fileIndex }) => fileIndex)),
      );
      await eachOf([...touched], SYNCS_AT_ONCE, (fileIndex) =>
        files.use([fileIndex], 'read', ([file]) => (file as OpenedFile).syncData()),
      );
      if (!this.#foldersSynced) await this.syncFolders();
    } catch (error) {
      // The kernel drops what it could not write: to read it back now would prove nothing.
      await this.#state.lost([...pieces]);
      throw error;
    }
    await this.#state.synced([...pieces]);
  }
}
