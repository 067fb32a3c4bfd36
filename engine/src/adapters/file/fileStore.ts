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
import type { DiskSpan } from './diskWorker.ts';
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
    const buffer = Buffer.allocUnsafeSlow(length);
    let at = 0;
    let spanStart = 0;
    for (const { fileIndex, offset: spanOffset, sizeBytes } of this.#layout.spans(piece)) {
      const to = Math.min(offset + length, spanStart + sizeBytes) - offset;
      const file = this.#files[fileIndex] as OpenFile;
      while (at < to) {
        const position = spanOffset + offset + at - spanStart;
        const { bytesRead } = await file.handle.read(buffer, at, to - at, position);
        if (bytesRead === 0) {
          throw new StoreError('DiskError', `${file.path} is shorter than it was`);
        }
        at += bytesRead;
      }
      spanStart += sizeBytes;
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
    for (const { path: relative, sizeBytes } of this.#layout.files) {
      const parent = await makeFolders(folder, path.dirname(relative));
      const at = path.join(parent, path.basename(relative));
      const handle = await open(at, READ_WRITE | constants.O_CREAT, 0o644);
      this.#files.push({ path: relative, sizeBytes, handle, prefixPieces: 0 });
      const { size } = await handle.stat();
      if (size !== sizeBytes) {
        await handle.truncate(sizeBytes);
        this.#anew.add(this.#files.length - 1);
      }
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
      if (this.#layout.spans(piece).some(({ fileIndex }) => this.#anew.has(fileIndex))) {
        state.forget(piece);
        continue;
      }
      if (mark === 1 && !state.sameBoot) {
        signal.throwIfAborted();
        const result = await diskThread.run({
          kind: 'check',
          spans: this.#diskSpans(piece),
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
    const result = await diskThread.run({
      kind: 'put',
      spans: this.#diskSpans(piece),
      bytes,
      leafCount: this.#leafCount(piece),
      expected,
      prefixBytes: this.#prefixBytes(piece),
    });
    if (!result.stored) return result;
    await this.#state?.written(piece, result.hash);
    this.#written.add(piece);
    this.#unsynced.push(piece);
    return result;
  }

  /** How far the digest of the piece's file may follow; 0: nobody will ask for it. */
  #prefixBytes(piece: number): number {
    const { aligned, pieceLengthBytes, locate } = this.#layout;
    const { fileIndex, offset } = locate(piece);
    const file = this.#files[fileIndex] as OpenFile;
    if (!aligned || this.#options.digests?.has(file.path) !== true) return 0;
    const firstPiece = piece - offset / pieceLengthBytes;
    while (this.#written.has(firstPiece + file.prefixPieces)) {
      if (file.prefixPieces * pieceLengthBytes >= file.sizeBytes) break;
      file.prefixPieces += 1;
    }
    return Math.min(file.sizeBytes, file.prefixPieces * pieceLengthBytes);
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
    const touched = new Set(
      pieces.flatMap((piece) => this.#layout.spans(piece).map(({ fileIndex }) => fileIndex)),
    );
    for (const fileIndex of touched) await (this.#files[fileIndex] as OpenFile).handle.datasync();
    await this.#state?.synced(pieces);
  }

  #fileOf(piece: number): OpenFile {
    return this.#files[this.#layout.locate(piece).fileIndex] as OpenFile;
  }

  #diskSpans(piece: number): DiskSpan[] {
    return this.#layout.spans(piece).map(({ fileIndex, offset, sizeBytes }) => {
      const { handle } = this.#files[fileIndex] as OpenFile;
      return { descriptor: handle.fd, position: offset, sizeBytes };
    });
  }

  #leafCount(piece: number): number {
    const { aligned, pieceLengthBytes } = this.#layout;
    const sizeBytes = this.#layout.pieceSizeBytes(piece);
    // Where pieces span files the hash is for this store alone.
    const fileSizeBytes = aligned ? this.#fileOf(piece).sizeBytes : sizeBytes;
    return leafCountOf({ sizeBytes, pieceLengthBytes, fileSizeBytes });
  }
}
