import { MAX_BATCH_BYTES } from '../../feed/batch.ts';
import { encodeBatchList } from '../../feed/batchList.ts';
import type { FileSystem, OpenedFile } from './fileSystem.ts';

/** The signed batches of a version, one after the other behind their lengths. */
export class FeedFile {
  /** What was there when it was opened, as far as it is whole. */
  readonly batches: readonly Uint8Array[];
  readonly #file: OpenedFile;
  #endBytes: number;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(file: OpenedFile, batches: readonly Uint8Array[], endBytes: number) {
    this.#file = file;
    this.batches = batches;
    this.#endBytes = endBytes;
  }

  static async open(path: string, fileSystem: FileSystem): Promise<FeedFile> {
    const file = await fileSystem.open(path, 'create');
    try {
      const { sizeBytes } = await file.facts();
      const bytes = Buffer.alloc(sizeBytes);
      await file.read(bytes, 0);
      const batches: Uint8Array[] = [];
      let at = 0;
      while (at + 4 <= bytes.length) {
        const length = bytes.readUInt32BE(at);
        if (length === 0 || length > MAX_BATCH_BYTES || at + 4 + length > bytes.length) break;
        batches.push(bytes.subarray(at + 4, at + 4 + length));
        at += 4 + length;
      }
      // A batch that a crash cut off would make what follows it unreadable.
      if (at < bytes.length) await file.truncate(at);
      return new FeedFile(file, batches, at);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** What is not kept is fetched again from peers: no reason to fail. */
  append(batches: readonly Uint8Array[]): void {
    const bytes = encodeBatchList(batches);
    const position = this.#endBytes;
    this.#endBytes += bytes.length;
    this.#writing = this.#writing.then(() => this.#file.write(bytes, position)).catch(() => {});
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }
}
