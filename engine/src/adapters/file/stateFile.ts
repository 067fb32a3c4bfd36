import path from 'node:path';
import type { FileSystem, OpenedFile } from './fileSystem.ts';
import { ABSENT, RECORD_BYTES, readRecord, recordOf, SYNCED, WRITTEN } from './pieceRecord.ts';

/*
 * What a store knows of its pieces, beside the version's folder:
 *   magic 8 | boot id 36, padded to 55 | what is known of the version 1 | per piece: its record
 * A piece's record is written right after its bytes, by the same thread. After a crash of the
 * process the page cache still has both; after another boot only what was synced is certain.
 * Since the record is always the later of the two, a file that was changed after the state file
 * was changed by somebody else, or by a write that a crash cut off.
 *
 * The last two digits of the magic are the format's version. A file of another one, or of another
 * length, says nothing of the pieces, and neither does none where files stand: those that stand in
 * their places are hashed there before anybody is asked for them. Nor does any of these say that the
 * version was not whole.
 */
const MAGIC = Buffer.from('sluice02');
const BOOT_BYTES = 55;
const WHOLE_AT = MAGIC.length + BOOT_BYTES;
const HEAD_BYTES = 64;

/** What stands at WHOLE_AT. */
const PARTIAL = 0;
const WHOLE = 1;
/** What stood here was of another format, or nothing: also of what is not noted bytes may be there. */
const UNTOLD = 2;

export class StateFile {
  readonly #path: string;
  readonly #fileSystem: FileSystem;
  readonly #bytes: Buffer;
  /** Whether what is marked written is as it was written: no boot in between. */
  readonly sameBoot: boolean;
  /** When it was written last; undefined: it is new. */
  readonly changedAtNs: bigint | undefined;
  #file: OpenedFile | undefined;
  #known: number;

  private constructor(
    { path, fileSystem }: { readonly path: string; readonly fileSystem: FileSystem },
    bytes: Buffer,
    known: { readonly sameBoot: boolean; readonly changedAtNs: bigint | undefined },
  ) {
    this.#path = path;
    this.#fileSystem = fileSystem;
    this.#bytes = bytes;
    this.sameBoot = known.sameBoot;
    this.changedAtNs = known.changedAtNs;
    this.#known = bytes[WHOLE_AT] as number;
  }

  /**
   * What stands at the path. Only begin() writes. `isPlaced`: the files of the version are there, so
   * that somebody has removed the state file of it; without them it is new.
   */
  static async read(
    path: string,
    pieceCount: number,
    fileSystem: FileSystem,
    isPlaced = false,
  ): Promise<StateFile> {
    const place = { path, fileSystem };
    const fresh = Buffer.alloc(HEAD_BYTES + pieceCount * RECORD_BYTES);
    MAGIC.copy(fresh);
    fresh.write(fileSystem.bootId().slice(0, BOOT_BYTES), MAGIC.length, 'latin1');
    const unknown = { sameBoot: false, changedAtNs: undefined };
    const facts = await fileSystem.facts(path);
    if (facts !== undefined || isPlaced) fresh[WHOLE_AT] = UNTOLD;
    if (facts?.kind !== 'file') return new StateFile(place, fresh, unknown);
    if (facts.sizeBytes !== fresh.length) return new StateFile(place, fresh, unknown);
    const old = await readWhole(path, facts.sizeBytes, fileSystem);
    if (!isOfThisFormat(old)) return new StateFile(place, fresh, unknown);
    const sameBoot = old.subarray(0, WHOLE_AT).equals(fresh.subarray(0, WHOLE_AT));
    old.copy(fresh, WHOLE_AT, WHOLE_AT);
    return new StateFile(place, fresh, { sameBoot, changedAtNs: facts.changedAtNs });
  }

  /**
   * What is noted of the version in the folder: nothing where the state file is of another format,
   * was begun where one was, cannot be read, or is gone. Gone, and not yet made, is it where the list
   * of files is there, for that is written after it; with neither the version has hardly begun.
   */
  static async told(
    folder: string,
    fileSystem: FileSystem,
  ): Promise<'whole' | 'partial' | 'untold'> {
    try {
      const head = Buffer.alloc(HEAD_BYTES);
      const file = await fileSystem.open(`${folder}.state`, 'read');
      await file.read(head, 0).finally(() => file.close());
      if (!isOfThisFormat(head) || head[WHOLE_AT] === UNTOLD) return 'untold';
      return head[WHOLE_AT] === WHOLE ? 'whole' : 'partial';
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return 'untold';
      return (await fileSystem.facts(`${folder}.files`)) === undefined ? 'partial' : 'untold';
    }
  }

  /** Every digest was right and everything was synced, and nothing was forgotten since. */
  get isWhole(): boolean {
    return this.#known === WHOLE;
  }

  /** Whether also pieces that are not noted may stand in their places. */
  get isUntold(): boolean {
    return this.#known === UNTOLD;
  }

  /**
   * The noted pieces were checked: from now on this boot counts. Replaces the file in one step, for
   * a crash must not leave it younger than the files and with what was just found to be wrong; nor
   * may one bring the old file back, with what is withdrawn in the new one.
   */
  async begin(): Promise<void> {
    this.#bytes[WHOLE_AT] = this.#known;
    const fresh = `${this.#path}.new`;
    await this.#fileSystem.remove(fresh);
    this.#file = await this.#fileSystem.open(fresh, 'create');
    await this.#file.write(this.#bytes, 0);
    await this.#file.syncData();
    await this.#fileSystem.rename(fresh, this.#path);
    await this.#fileSystem.syncFolder(path.dirname(this.#path));
  }

  /** Undefined: nothing is noted. */
  noted(piece: number): { readonly mark: number; readonly hash: Buffer } | undefined {
    return readRecord(this.#record(piece), piece);
  }

  /** Until begin() in memory only. */
  forget(piece: number): void {
    this.erase(piece);
    if (this.isWhole) this.#known = PARTIAL;
  }

  /**
   * In memory. The whole record, not its mark alone: a record may lie in two sectors, and where a
   * power loss keeps the next mark and not the hash with it, the mark would be said of the old hash.
   */
  erase(piece: number): void {
    this.#record(piece).fill(ABSENT);
  }

  /** Where the thread that writes the piece notes it. */
  placeOf(piece: number) {
    return { descriptor: this.#opened.descriptor, position: this.#at(piece), piece };
  }

  /** The thread has noted it. */
  written(piece: number, hash: Uint8Array): void {
    this.#bytes.set(recordOf(WRITTEN, piece, hash), this.#at(piece));
  }

  /** The pieces' bytes are on the disk; now the records are put there too. */
  async synced(pieces: readonly number[]): Promise<void> {
    for (const piece of pieces) this.#record(piece)[0] = SYNCED;
    await this.#write(pieces.map((piece) => [this.#record(piece).subarray(0, 1), this.#at(piece)]));
    await this.#opened.syncData();
  }

  /** Nobody knows what the disk has of them. */
  async lost(pieces: readonly number[]): Promise<void> {
    for (const piece of pieces) this.erase(piece);
    await this.#write(pieces.map((piece) => [this.#record(piece), this.#at(piece)]));
  }

  /** What is noted of it counts no more: certain before it is written anew, or told to anybody. */
  async withdraw(piece: number): Promise<void> {
    await this.lost([piece]);
    await this.#opened.syncData();
  }

  async setWhole(isWhole: boolean): Promise<void> {
    if (isWhole) this.#known = WHOLE;
    else if (this.isWhole) this.#known = PARTIAL;
    this.#bytes[WHOLE_AT] = this.#known;
    await this.#write([[this.#bytes.subarray(WHOLE_AT, WHOLE_AT + 1), WHOLE_AT]]);
    await this.#opened.syncData();
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }

  get #opened(): OpenedFile {
    if (this.#file === undefined) throw new Error('the state file has not begun');
    return this.#file;
  }

  /** By the thread that notes pieces: one message instead of many small asynchronous writes. */
  async #write(parts: readonly (readonly [Buffer, number])[]): Promise<void> {
    // Copies, for the message would else take all the memory that they are part of.
    const writes = parts.map(([bytes, position]) => ({ bytes: Uint8Array.from(bytes), position }));
    await this.#fileSystem.run({ kind: 'write', descriptor: this.#opened.descriptor, writes });
  }

  #record(piece: number): Buffer {
    return this.#bytes.subarray(this.#at(piece), this.#at(piece) + RECORD_BYTES);
  }

  #at(piece: number): number {
    return HEAD_BYTES + piece * RECORD_BYTES;
  }
}

function isOfThisFormat(bytes: Buffer): boolean {
  return bytes.subarray(0, MAGIC.length).equals(MAGIC);
}

async function readWhole(path: string, sizeBytes: number, fileSystem: FileSystem): Promise<Buffer> {
  const file = await fileSystem.open(path, 'read');
  try {
    const bytes = Buffer.alloc(sizeBytes);
    await file.read(bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}
