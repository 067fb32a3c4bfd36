/*
 * adapters/file/ is the disk: one folder a version, built aside. Nothing here knows of peers.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import path from 'node:path';
import { MAX_BATCH_BYTES } from '../../feed/batch.ts';
import { encodeBatchList } from '../../feed/batchList.ts';
import { leafCountOf } from '../../feed/pieceHash.ts';
import type { Layout, LayoutFile } from '../../pieces/layout.ts';
import type { PieceStore, PutResult, StoredState } from '../../ports/pieceStore.ts';
import { diskThread } from './diskThread.ts';
import { makeFolders, placeLink, removeOlderVersions, syncFolder } from './placing.ts';
import { StateFile } from './stateFile.ts';
import { StoreError, storeErrorOf } from './storeError.ts';

export interface FileStoreOptions {
  /** Of this version; what the store keeps for itself stands beside it as `<folder>.*`. */
  readonly folder: string;
  readonly layout: Layout;
  /** SHA-256 in hex, by the file's path. */
  readonly digests?: ReadonlyMap<string, string>;
  /** The symlink that makes the version visible; absent at relays, which only cache. */
  readonly link?: string | undefined;
  readonly fileMode?: number;
}

interface OpenFile extends LayoutFile {
  readonly handle: FileHandle;
  readonly firstPiece: number;
  /** All pieces before this one are written. */
  prefixPieces: number;
}

const SYNC_INTERVAL_MS = 1000;
const READ_WRITE = constants.O_RDWR | constants.O_NOFOLLOW;

export class FileStore implements PieceStore {
  readonly #options: FileStoreOptions;
  readonly #layout: Layout;
  readonly #written = new Set<number>();
  /** Files that were not as they were left: nothing that is noted of them counts. */
  readonly #anew = new Set<number>();
  #unsynced: number[] = [];
  #files: OpenFile[] = [];
  #state: StateFile | undefined;
  #feed: FileHandle | undefined;
  #feedWrites: Promise<unknown> = Promise.resolve();
  #syncing: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  readonly #puts = new Set<Promise<unknown>>();
  #closed = false;

  constructor(options: FileStoreOptions) {
    this.#options = options;
    this.#layout = options.layout;
  }

  async open(signal: AbortSignal): Promise<StoredState> {
    const { folder } = this.#options;
    try {
      await mkdir(path.dirname(folder), { recursive: true, mode: 0o755 });
      await makeFolders(path.dirname(folder), path.basename(folder));
      await this.#openFiles();
      this.#state = await StateFile.open(`${folder}.state`, this.#layout.pieceCount);
      await this.#restore(this.#state, signal);
      await this.#state.begin();
      const feed = await this.#openFeed();
      this.#timer = setInterval(() => {
        this.#syncing = this.#syncing.then(() => this.#sync()).catch(() => {});
      }, SYNC_INTERVAL_MS);
      this.#timer.unref();
      return { verified: new Set(this.#written), feed };
    } catch (error) {
      await this.close();
      throw storeErrorOf(error, folder);
    }
  }

  keepFeed(batches: readonly Uint8Array[]): void {
    const bytes = encodeBatchList(batches);
    // A feed that is not kept is fetched again from peers: no reason to fail.
    this.#feedWrites = this.#feedWrites.then(() => this.#feed?.appendFile(bytes)).catch(() => {});
  }

  async put(piece: number, bytes: Uint8Array, expected?: Uint8Array): Promise<PutResult> {
    const putting = this.#put(piece, bytes, expected);
    this.#puts.add(putting);
    try {
      return await putting;
    } catch (error) {
      throw storeErrorOf(error, this.#fileOf(piece).path);
    } finally {
      this.#puts.delete(putting);
    }
  }

  async read(piece: number, offset: number, length: number): Promise<Uint8Array> {
    const file = this.#fileOf(piece);
    const buffer = Buffer.allocUnsafeSlow(length);
    const position = this.#layout.locate(piece).offset + offset;
    let at = 0;
    while (at < length) {
      const { bytesRead } = await file.handle.read(buffer, at, length - at, position + at);
      if (bytesRead === 0) throw new StoreError('DiskError', `${file.path} is shorter than it was`);
      at += bytesRead;
    }
    return buffer;
  }

  async complete(signal: AbortSignal): Promise<void> {
    const { folder, link, fileMode } = this.#options;
    try {
      await this.#syncing;
      await this.#sync();
      for (const file of this.#files) {
        signal.throwIfAborted();
        await this.#checkDigest(file);
        if (fileMode !== undefined) await file.handle.chmod(fileMode);
        await file.handle.sync();
      }
      const parents = new Set(
        this.#files.map((file) => path.dirname(path.join(folder, file.path))),
      );
      for (const parent of parents) await syncFolder(parent);
      await syncFolder(path.dirname(folder));
      if (link === undefined) return;
      await placeLink(link, folder);
      await removeOlderVersions(folder);
    } catch (error) {
      throw storeErrorOf(error, folder);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    await Promise.allSettled([...this.#puts, this.#syncing, this.#feedWrites]);
    await this.#sync().catch(() => {});
    for (const { handle } of this.#files) {
      await diskThread.run({ kind: 'forget', descriptor: handle.fd }).catch(() => {});
      await handle.close();
    }
    await this.#state?.close();
    await this.#feed?.close();
  }

  async #openFiles(): Promise<void> {
    const { folder } = this.#options;
    let firstPiece = 0;
    for (const { path: relative, sizeBytes } of this.#layout.files) {
      const parent = await makeFolders(folder, path.dirname(relative));
      const at = path.join(parent, path.basename(relative));
      const handle = await open(at, READ_WRITE | constants.O_CREAT, 0o644);
      this.#files.push({ path: relative, sizeBytes, handle, firstPiece, prefixPieces: 0 });
      const { size } = await handle.stat();
      if (size !== sizeBytes) {
        await handle.truncate(sizeBytes);
        this.#anew.add(this.#files.length - 1);
      }
      firstPiece += Math.ceil(sizeBytes / this.#layout.pieceLengthBytes);
    }
  }

  async #openFeed(): Promise<Uint8Array[]> {
    const flags = constants.O_APPEND | constants.O_CREAT | READ_WRITE;
    this.#feed = await open(`${this.#options.folder}.feed`, flags, 0o600);
    const bytes = await this.#feed.readFile();
    const batches: Uint8Array[] = [];
    let at = 0;
    while (at + 4 <= bytes.length) {
      const length = bytes.readUInt32BE(at);
      if (length > MAX_BATCH_BYTES || at + 4 + length > bytes.length) break;
      batches.push(bytes.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    // A batch that a crash cut off would make what follows it unreadable.
    if (at < bytes.length) await this.#feed.truncate(at);
    return batches;
  }

  /** After another boot what was not synced is hashed again first. */
  async #restore(state: StateFile, signal: AbortSignal): Promise<void> {
    for (let piece = 0; piece < this.#layout.pieceCount; piece += 1) {
      const mark = state.mark(piece);
      if (mark === 0) continue;
      if (this.#anew.has(this.#layout.locate(piece).fileIndex)) {
        state.forget(piece);
        continue;
      }
      if (mark === 1 && !state.sameBoot) {
        signal.throwIfAborted();
        const { handle } = this.#fileOf(piece);
        const result = await diskThread.run({
          kind: 'check',
          descriptor: handle.fd,
          position: this.#layout.locate(piece).offset,
          sizeBytes: this.#layout.pieceSizeBytes(piece),
          leafCount: this.#leafCount(piece),
        });
        if (!result.stored || Buffer.compare(result.hash, state.hash(piece)) !== 0) {
          state.forget(piece);
          continue;
        }
      }
      this.#written.add(piece);
      if (mark === 1) this.#unsynced.push(piece);
    }
  }

  async #put(piece: number, bytes: Uint8Array, expected?: Uint8Array): Promise<PutResult> {
    const file = this.#fileOf(piece);
    const result = await diskThread.run({
      kind: 'put',
      descriptor: file.handle.fd,
      position: this.#layout.locate(piece).offset,
      bytes,
      leafCount: this.#leafCount(piece),
      expected,
      prefixBytes: this.#options.digests?.has(file.path) ? this.#prefixBytes(file) : 0,
    });
    if (!result.stored) return result;
    await this.#state?.written(piece, result.hash);
    this.#written.add(piece);
    this.#unsynced.push(piece);
    return result;
  }

  #prefixBytes(file: OpenFile): number {
    while (this.#written.has(file.firstPiece + file.prefixPieces)) {
      if (file.prefixPieces * this.#layout.pieceLengthBytes >= file.sizeBytes) break;
      file.prefixPieces += 1;
    }
    return Math.min(file.sizeBytes, file.prefixPieces * this.#layout.pieceLengthBytes);
  }

  async #checkDigest({ path: relative, handle, sizeBytes }: OpenFile): Promise<void> {
    const expected = this.#options.digests?.get(relative);
    if (expected === undefined) return;
    const { hash } = await diskThread.run({ kind: 'digest', descriptor: handle.fd, sizeBytes });
    const actual = Buffer.from(hash).toString('hex');
    if (actual === expected) return;
    const message = `${relative} has the SHA-256 ${actual}, not ${expected} as the source names`;
    throw new StoreError('DigestMismatch', message);
  }

  /** In the thread pool, not in the worker: hashing goes on meanwhile. */
  async #sync(): Promise<void> {
    const pieces = this.#unsynced;
    if (pieces.length === 0) return;
    this.#unsynced = [];
    const touched = new Set(pieces.map((piece) => this.#fileOf(piece)));
    for (const { handle } of touched) await handle.datasync();
    await this.#state?.synced(pieces);
  }

  #fileOf(piece: number): OpenFile {
    return this.#files[this.#layout.locate(piece).fileIndex] as OpenFile;
  }

  #leafCount(piece: number): number {
    return leafCountOf({
      sizeBytes: this.#layout.pieceSizeBytes(piece),
      pieceLengthBytes: this.#layout.pieceLengthBytes,
      fileSizeBytes: this.#fileOf(piece).sizeBytes,
    });
  }
}
