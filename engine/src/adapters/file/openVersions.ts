/** Versions that are being made or served now, and what they are still to take of the disk. */
import { type SizedFile, unwrittenBytes } from './unwritten.ts';

export class OpenVersions {
  /** By folder. */
  readonly #files = new Map<string, readonly SizedFile[]>();
  #turn: Promise<void> = Promise.resolve();

  /**
   * Counts the version from now on, unless `judge` throws; it is told how to learn what all others
   * are still to write: they have been let in, and take it from what is free. One after the other:
   * what two of them found free only one may have.
   */
  admit(
    folder: string,
    files: readonly SizedFile[],
    judge: (promisedBytes: () => Promise<number>) => Promise<void>,
  ): Promise<void> {
    const admitted = this.#turn.then(async () => {
      await judge(() => this.#unwrittenBeside(folder));
      this.#files.set(folder, files);
    });
    this.#turn = admitted.catch(() => {});
    return admitted;
  }

  /** Nobody is at work on it. */
  release(folder: string): void {
    this.#files.delete(folder);
  }

  has(folder: string): boolean {
    return this.#files.has(folder);
  }

  entries(): IterableIterator<[string, readonly SizedFile[]]> {
    return this.#files.entries();
  }

  async #unwrittenBeside(folder: string): Promise<number> {
    let sum = 0;
    for (const [other, files] of this.#files) {
      if (other !== folder) sum += await unwrittenBytes(other, files);
    }
    return sum;
  }
}
