import { constants, readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/*
 * What a store knows of its pieces, beside the version's folder:
 *   magic 8 | boot id 36, padded to 56 | per piece: 0 absent, 1 written, 2 synced; and its hash (32)
 * A record is written at once when its piece is. After a crash of the process the page cache still
 * has everything; after another boot only what was synced is certain.
 */
const MAGIC = Buffer.from('sluice01');
const HEAD_BYTES = 64;
const RECORD_BYTES = 33;

export class StateFile {
  readonly #handle: FileHandle;
  readonly #bytes: Buffer;
  /** Whether what is marked written is as it was written: no boot in between. */
  readonly sameBoot: boolean;

  private constructor(handle: FileHandle, bytes: Buffer, sameBoot: boolean) {
    this.#handle = handle;
    this.#bytes = bytes;
    this.sameBoot = sameBoot;
  }

  /** A file of another shape is begun anew. */
  static async open(path: string, pieceCount: number): Promise<StateFile> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const handle = await open(path, flags, 0o600);
    const size = HEAD_BYTES + pieceCount * RECORD_BYTES;
    const fresh = Buffer.alloc(size);
    MAGIC.copy(fresh);
    fresh.write(bootId(), MAGIC.length, 'latin1');
    const old = await handle.readFile();
    const usable = old.length === size && old.subarray(0, MAGIC.length).equals(MAGIC);
    const sameBoot = usable && old.subarray(0, HEAD_BYTES).equals(fresh.subarray(0, HEAD_BYTES));
    if (usable) old.copy(fresh, HEAD_BYTES, HEAD_BYTES);
    return new StateFile(handle, fresh, sameBoot);
  }

  /** After the unsynced pieces of another boot were checked: from now on this boot counts. */
  async begin(): Promise<void> {
    await this.#handle.truncate(this.#bytes.length);
    await this.#handle.write(this.#bytes, 0, this.#bytes.length, 0);
  }

  mark(piece: number): number {
    return this.#bytes[this.#at(piece)] ?? 0;
  }

  hash(piece: number): Buffer {
    return this.#bytes.subarray(this.#at(piece) + 1, this.#at(piece) + RECORD_BYTES);
  }

  forget(piece: number): void {
    this.#bytes[this.#at(piece)] = 0;
  }

  async written(piece: number, hash: Uint8Array): Promise<void> {
    const at = this.#at(piece);
    this.#bytes[at] = 1;
    this.#bytes.set(hash, at + 1);
    await this.#handle.write(this.#bytes, at, RECORD_BYTES, at);
  }

  /** The pieces' bytes are on the disk; now the records are put there too. */
  async synced(pieces: readonly number[]): Promise<void> {
    for (const piece of pieces) {
      const at = this.#at(piece);
      this.#bytes[at] = 2;
      await this.#handle.write(this.#bytes, at, 1, at);
    }
    await this.#handle.datasync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  #at(piece: number): number {
    return HEAD_BYTES + piece * RECORD_BYTES;
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().slice(0, 36);
  } catch {
    // Without one every start counts as another boot: slower, never wrong.
    return crypto.randomUUID();
  }
}
