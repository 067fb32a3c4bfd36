import path from 'node:path';
import { leafCountOf } from '../../feed/pieceHash.ts';
import type { Layout, LayoutFile } from '../../pieces/layout.ts';
import type { PutResult } from '../../ports/pieceStore.ts';
import { digestOf } from './digestOf.ts';
import type { DiskSpan } from './diskWork.ts';
import { type EarlierBytes, type EarlierFile, EarlierVersions } from './earlierVersions.ts';
import type { FileSystem, OpenedFile } from './fileSystem.ts';
import { newFileNumber } from './openFiles.ts';

export interface EarlierCopiesOptions {
  readonly layout: Layout;
  /** Of the version itself. */
  readonly folder: string;
  /** SHA-256 in hex, by the file's path. */
  readonly digests: ReadonlyMap<string, string> | undefined;
  /** Of the earlier versions, best first. */
  readonly folders: readonly string[];
}

/**
 * What one version takes over from those that its disk has already, and from itself where what was
 * noted of it cannot be read.
 */
export class EarlierCopies {
  readonly #options: EarlierCopiesOptions;
  readonly #fileSystem: FileSystem;
  #versions = new EarlierVersions();
  /** By file: where all of its bytes are. */
  readonly #files = new Map<number, EarlierFile>();
  /** Files that have the bytes already: what is left is to hash them. */
  readonly #there = new Set<number>();
  /** Files that may have them, or some of them. */
  readonly #untold = new Set<number>();

  constructor(options: EarlierCopiesOptions, fileSystem: FileSystem) {
    this.#options = options;
    this.#fileSystem = fileSystem;
  }

  /** This file stands in its place, of its size, and nobody can tell what is in it. */
  addUntold(fileIndex: number): void {
    if (this.#options.layout.aligned) this.#untold.add(fileIndex);
  }

  /** By the digests of their files, what pieces must be that this disk has. */
  async prove(signal: AbortSignal): Promise<Map<number, Uint8Array>> {
    const { layout, digests, folders } = this.#options;
    const proven = new Map<number, Uint8Array>();
    if (folders.length === 0 && this.#untold.size === 0) return proven;
    this.#versions = await EarlierVersions.read(folders, this.#fileSystem);
    let first = 0;
    for (const [fileIndex, file] of layout.files.entries()) {
      const sha256 = digests?.get(file.path);
      const hashes = sha256 && layout.aligned && (await this.#find(fileIndex, sha256, signal));
      if (hashes) hashes.forEach((hash, index) => void proven.set(first + index, hash));
      first += Math.ceil(file.sizeBytes / layout.pieceLengthBytes);
    }
    return proven;
  }

  /** The whole file: where it belongs, or in an earlier version. Answers the hashes of its pieces. */
  async #find(
    fileIndex: number,
    sha256: string,
    signal: AbortSignal,
  ): Promise<readonly Uint8Array[] | undefined> {
    const { layout, folder } = this.#options;
    const { path: relative, sizeBytes } = layout.files[fileIndex] as LayoutFile;
    if (this.#untold.has(fileIndex)) {
      const { pieceLengthBytes } = layout;
      const at = path.join(folder, relative);
      const own = { path: at, sizeBytes, pieceLengthBytes, hashes: undefined };
      const hashes = await this.#hashesOf(own, sha256, signal);
      if (hashes !== undefined) {
        this.#there.add(fileIndex);
        return hashes;
      }
    }
    const earlier = this.#versions.fileOf(sha256, sizeBytes);
    const hashes = earlier && (await this.#hashesOf(earlier, sha256, signal));
    if (earlier === undefined || hashes === undefined) return undefined;
    this.#files.set(fileIndex, earlier);
    return hashes;
  }

  /**
   * Lets the whole file share its bytes with the earlier version's, where the disk can; whatever
   * stood there is gone. Answers whether there was something to share: else nothing was touched.
   */
  async clone(fileIndex: number, to: string): Promise<boolean> {
    const earlier = this.#files.get(fileIndex);
    if (earlier === undefined) return false;
    this.#untold.delete(fileIndex);
    if (await this.#fileSystem.clone(earlier.path, to)) this.#there.add(fileIndex);
    return true;
  }

  has(piece: number, hash: Uint8Array): boolean {
    const { fileIndex } = this.#options.layout.locate(piece);
    const isHere = this.#there.has(fileIndex) || this.#untold.has(fileIndex);
    return isHere || this.#files.has(fileIndex) || this.#versions.bytesOf(hash) !== undefined;
  }

  /** Gives `put` where the bytes of the piece are; undefined: at its own place. */
  async use(
    piece: number,
    hash: Uint8Array,
    put: (from: DiskSpan | undefined) => Promise<PutResult>,
  ): Promise<PutResult> {
    const { fileIndex, offset } = this.#options.layout.locate(piece);
    if (this.#there.has(fileIndex)) return put(undefined);
    if (this.#untold.has(fileIndex)) {
      const found = await put(undefined);
      if (found.stored) return found;
    }
    const whole = this.#files.get(fileIndex);
    const sizeBytes = this.#options.layout.pieceSizeBytes(piece);
    const bytes: EarlierBytes | undefined =
      whole === undefined
        ? this.#versions.bytesOf(hash)
        : { path: whole.path, position: offset, sizeBytes };
    if (bytes?.sizeBytes !== sizeBytes) return { stored: false, hash };
    const file = await this.#fileSystem.open(bytes.path, 'read').catch(() => undefined);
    if (file === undefined) return { stored: false, hash };
    try {
      return await put({ ...bytes, descriptor: file.descriptor });
    } finally {
      await file.close();
    }
  }

  async #hashesOf(
    earlier: EarlierFile,
    sha256: string,
    signal: AbortSignal,
  ): Promise<readonly Uint8Array[] | undefined> {
    const { pieceLengthBytes } = this.#options.layout;
    const isOnePiece = earlier.sizeBytes <= Math.min(pieceLengthBytes, earlier.pieceLengthBytes);
    const isSameCut = isOnePiece || earlier.pieceLengthBytes === pieceLengthBytes;
    if (isSameCut && earlier.hashes !== undefined) return earlier.hashes;
    const file = await this.#fileSystem.open(earlier.path, 'read').catch(() => undefined);
    if (file === undefined) return undefined;
    try {
      return await this.#readThrough(file, earlier.sizeBytes, sha256, signal);
    } finally {
      await file.close();
    }
  }

  /** Other pieces, or nobody has held them against the digest: the file is read once more. */
  async #readThrough(
    { descriptor }: OpenedFile,
    fileSizeBytes: number,
    sha256: string,
    signal: AbortSignal,
  ): Promise<Uint8Array[] | undefined> {
    const { pieceLengthBytes } = this.#options.layout;
    const number = newFileNumber();
    const hashes: Uint8Array[] = [];
    try {
      for (let position = 0; position < fileSizeBytes; position += pieceLengthBytes) {
        signal.throwIfAborted();
        const sizeBytes = Math.min(pieceLengthBytes, fileSizeBytes - position);
        const leafCount = leafCountOf({ sizeBytes, pieceLengthBytes, fileSizeBytes });
        const spans = [{ descriptor, position, sizeBytes }];
        const { stored, hash } = await this.#fileSystem.run({ kind: 'check', spans, leafCount });
        if (!stored) return undefined;
        hashes.push(hash);
      }
      const whole = { file: number, descriptor, sizeBytes: fileSizeBytes };
      const { stored, hash } = await digestOf(whole, { fileSystem: this.#fileSystem, signal });
      return stored && Buffer.from(hash).toString('hex') === sha256 ? hashes : undefined;
    } catch (error) {
      signal.throwIfAborted();
      const { code } = error as NodeJS.ErrnoException;
      // The earlier file cannot be read: it is fetched.
      if (code !== undefined) return undefined;
      throw error;
    } finally {
      await this.#fileSystem.run({ kind: 'forget', file: number });
    }
  }
}
