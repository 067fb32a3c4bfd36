/*
 * adapters/file/ is the disk: one folder a version, built aside. Nothing here knows of peers.
 */
import path from 'node:path';
import { leafCountOf } from '../../feed/pieceHash.ts';
import type { Layout, LayoutFile } from '../../pieces/layout.ts';
import type { Clock } from '../../ports/clock.ts';
import type { PieceStore, PutResult, StoredState } from '../../ports/pieceStore.ts';
import { systemClock } from '../systemClock.ts';
import { digestOf } from './digestOf.ts';
import type { DigestPrefix, DiskJob, DiskResult, PutPlace } from './diskWork.ts';
import { eachOf } from './eachOf.ts';
import { EarlierCopies } from './earlierCopies.ts';
import { writeManifest } from './earlierVersions.ts';
import { FeedFile } from './feedFile.ts';
import { FileModes } from './fileModes.ts';
import type { FileFacts, FileSystem, OpenedFile } from './fileSystem.ts';
import { nodeFileSystem } from './nodeFileSystem.ts';
import { newFileNumber, OpenFiles } from './openFiles.ts';
import { SYNCED } from './pieceRecord.ts';
import { ensureFolder, makeFolders, placeLink } from './placing.ts';
import { StateFile } from './stateFile.ts';
import { StoreError, storeErrorOf } from './storeError.ts';
import { StoreSync, SYNCS_AT_ONCE } from './storeSync.ts';

export interface FileStoreOptions {
  /** Of this version; what the store keeps for itself stands beside it as `<folder>.*`. */
  readonly folder: string;
  readonly layout: Layout;
  /** SHA-256 in hex, by the file's path. */
  readonly digests?: ReadonlyMap<string, string>;
  /**
   * Whether another digest is an error. Not at relays, where nothing is placed: there it only means
   * that a later epoch takes nothing over.
   */
  readonly mustMatch?: boolean;
  /** Folders of versions that this disk has already: what they have is not fetched again. */
  readonly earlier?: readonly string[];
  /** The symlink that makes the version visible; absent at relays, which only cache. */
  readonly link?: string | undefined;
  readonly fileMode?: number;
}

export interface FileStoreDependencies {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
}

interface VersionFile extends LayoutFile {
  /** In the disk's thread. */
  readonly number: number;
  /** As it was found; undefined: it has been made since. */
  found: FileFacts | undefined;
  /** All pieces before this one are written. */
  prefixPieces: number;
}

export class FileStore implements PieceStore {
  readonly #options: FileStoreOptions;
  readonly #fileSystem: FileSystem;
  readonly #layout: Layout;
  readonly #files: readonly VersionFile[];
  readonly #open: OpenFiles;
  readonly #sync: StoreSync;
  readonly #written = new Map<number, Uint8Array>();
  readonly #copies: EarlierCopies;
  #state: StateFile | undefined;
  #feed: FeedFile | undefined;
  /** What the store is not closed before. */
  readonly #works = new Set<Promise<unknown>>();
  readonly #modes: FileModes;
  #opening: Promise<unknown> = Promise.resolve();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(
    options: FileStoreOptions,
    { fileSystem, clock }: FileStoreDependencies = {
      fileSystem: nodeFileSystem,
      clock: systemClock,
    },
  ) {
    const { layout, folder, link, digests, earlier = [] } = options;
    this.#options = options;
    this.#fileSystem = fileSystem;
    this.#layout = layout;
    this.#files = layout.files.map((file) => ({
      ...file,
      number: newFileNumber(),
      found: undefined,
      prefixPieces: 0,
    }));
    const paths = layout.files.map((file) => path.join(folder, file.path));
    this.#open = new OpenFiles(paths, fileSystem);
    this.#modes = new FileModes(paths, options.fileMode, { fileSystem, files: this.#open });
    this.#copies = new EarlierCopies({ layout, folder, digests, folders: earlier }, fileSystem);
    this.#sync = new StoreSync({ layout, folder, link }, { clock, fileSystem, files: this.#open });
  }

  /** Ends early, and leaves nothing open, when it is aborted or the store is closed meanwhile. */
  async open(signal: AbortSignal): Promise<StoredState> {
    const opening = this.#resume(AbortSignal.any([signal, this.#closing.signal]));
    this.#opening = opening.catch(() => {});
    try {
      return await opening;
    } catch (error) {
      await this.close();
      throw storeErrorOf(error, this.#options.folder);
    }
  }

  keepFeed(batches: readonly Uint8Array[]): void {
    this.#feed?.append(batches);
  }

  put(piece: number, bytes: Uint8Array, expected?: Uint8Array): Promise<PutResult> {
    const putting = this.#put(piece, expected, (place) => ({ ...place, kind: 'put', bytes }));
    return this.#working(this.#fileOf(piece).path, putting);
  }

  hasEarlier(piece: number, hash: Uint8Array): boolean {
    return this.#copies.has(piece, hash);
  }

  copy(piece: number, expected: Uint8Array): Promise<PutResult> {
    const copying = this.#copies.use(piece, expected, (from) =>
      this.#put(piece, expected, (place) => ({ ...place, kind: 'copy', from })),
    );
    return this.#working(this.#fileOf(piece).path, copying);
  }

  async read(
    piece: number,
    offset: number,
    length: number,
    buffer: Uint8Array = Buffer.allocUnsafeSlow(length),
  ): Promise<Uint8Array> {
    const spans = this.#layout.spans(piece);
    try {
      return await this.#open.read(spans, offset, buffer.subarray(0, length));
    } catch (error) {
      throw storeErrorOf(error, this.#fileOf(piece).path);
    }
  }

  /** Places nothing once it is aborted or the store is closed: the version may then be deleted. */
  complete(signal: AbortSignal): Promise<void> {
    const completing = this.#complete(AbortSignal.any([signal, this.#closing.signal]));
    return this.#working(this.#options.folder, completing);
  }

  /** Of a version that is complete, now; of another one when it will be. */
  async setFileMode(fileMode: number, signal: AbortSignal): Promise<void> {
    const state = this.#state;
    if (!this.#modes.choose(fileMode) || state?.isWhole !== true) return;
    await this.#modes.set(state, AbortSignal.any([signal, this.#closing.signal]));
  }

  /**
   * What the store itself is changing of files that are placed, or changed last: until then they
   * are younger than its state file. Another promise for each change; never rejects.
   */
  get ownChanges(): Promise<void> {
    return this.#modes.changes;
  }

  /**
   * Hashes a piece once more. False: it is not as it was written, or cannot be read; that is noted,
   * and the next open() lacks it. True also when it is not here.
   */
  recheck(piece: number, signal: AbortSignal): Promise<boolean> {
    return this.#working(this.#fileOf(piece).path, this.#recheck(piece, signal));
  }

  close(): Promise<void> {
    this.#closing.abort(new Error('the store is closed'));
    this.#closed ??= this.#close();
    return this.#closed;
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  async #close(): Promise<void> {
    // What it opens until then is closed with the rest.
    await this.#opening;
    await Promise.allSettled([...this.#works]);
    await this.#modes.changes;
    await this.#sync.stop();
    for (const { number } of this.#files) {
      if (this.#options.digests === undefined) break;
      await this.#fileSystem.run({ kind: 'forget', file: number }).catch(() => {});
    }
    await this.#open.close();
    await this.#state?.close();
    await this.#feed?.close();
  }

  /** The store is not closed before it has settled; `what` it is about stands in its error. */
  async #working<Result>(what: string, work: Promise<Result>): Promise<Result> {
    this.#works.add(work);
    try {
      return await work;
    } catch (error) {
      throw storeErrorOf(error, what);
    } finally {
      this.#works.delete(work);
    }
  }

  /* Opening. */

  async #resume(signal: AbortSignal): Promise<StoredState> {
    const { folder, digests } = this.#options;
    const fileSystem = this.#fileSystem;
    const parent = path.dirname(folder);
    await ensureFolder(parent, fileSystem);
    await makeFolders(parent, path.basename(folder), fileSystem);
    await this.#lookAtFiles(signal);
    // Files are made after it: where they stand without one, somebody has removed it.
    const isPlaced = this.#files.some(
      ({ found, sizeBytes }) => sizeBytes > 0 && found?.sizeBytes === sizeBytes,
    );
    const { pieceCount } = this.#layout;
    this.#state = await StateFile.read(`${folder}.state`, pieceCount, fileSystem, isPlaced);
    await this.#restore(this.#state, signal);
    const proven = await this.#prove(this.#state, signal);
    signal.throwIfAborted();
    // Before the files are made: what was noted of those that were gone must not come back.
    await this.#state.begin();
    await this.#cloneFiles(signal);
    await this.#makeFiles(signal);
    if (this.#layout.aligned) await writeManifest(folder, this.#layout, digests, fileSystem);
    this.#feed = await FeedFile.open(`${folder}.feed`, fileSystem);
    signal.throwIfAborted();
    this.#sync.start(this.#state);
    return { verified: new Map(this.#written), proven, feed: this.#feed.batches };
  }

  /** Makes the folders, refuses what is in the way, and sees what is there. */
  async #lookAtFiles(signal: AbortSignal): Promise<void> {
    const { folder } = this.#options;
    this.#sync.addFolder(folder);
    for (const file of this.#files) {
      signal.throwIfAborted();
      if (this.#sync.addFolder(path.dirname(path.join(folder, file.path)))) {
        await makeFolders(folder, path.dirname(file.path), this.#fileSystem);
      }
      const at = path.join(folder, file.path);
      file.found = await this.#fileSystem.facts(at);
      if (file.found === undefined || file.found.kind === 'file') continue;
      throw new StoreError('PathConflict', `${at} is in the way: it is no file`);
    }
  }

  /** What the files' digests say of their pieces. */
  async #prove(state: StateFile, signal: AbortSignal): Promise<Map<number, Uint8Array>> {
    for (const [fileIndex, { found, sizeBytes }] of this.#files.entries()) {
      if (state.isUntold && found?.sizeBytes === sizeBytes) this.#copies.addUntold(fileIndex);
    }
    const proven = await this.#copies.prove(signal);
    // A whole version was held against its digests.
    for (const [piece, hash] of state.isWhole ? this.#written : []) {
      if (this.#options.digests?.has(this.#fileOf(piece).path)) proven.set(piece, hash);
    }
    return proven;
  }

  /** Files that share their bytes with an earlier version's, of which no piece is here yet. */
  async #cloneFiles(signal: AbortSignal): Promise<void> {
    const begun = new Set([...this.#written.keys()].map((piece) => this.#fileOf(piece)));
    for (const [fileIndex, file] of this.#files.entries()) {
      if (begun.has(file)) continue;
      signal.throwIfAborted();
      const at = path.join(this.#options.folder, file.path);
      if (!(await this.#copies.clone(fileIndex, at))) continue;
      // As it is now, cloned or gone.
      file.found = await this.#fileSystem.facts(at);
    }
  }

  /** Of every size as it will be: the space is not taken yet, but nobody reads behind an end. */
  async #makeFiles(signal: AbortSignal): Promise<void> {
    const { folder } = this.#options;
    for (const file of this.#files) {
      if (file.found?.sizeBytes === file.sizeBytes) continue;
      signal.throwIfAborted();
      file.found = undefined;
      const opened = await this.#fileSystem.open(path.join(folder, file.path), 'create');
      try {
        await opened.truncate(file.sizeBytes);
      } finally {
        await opened.close();
      }
    }
  }

  /** What may not be as it was noted is hashed again first. */
  async #restore(state: StateFile, signal: AbortSignal): Promise<void> {
    for (let piece = 0; piece < this.#layout.pieceCount; piece += 1) {
      const noted = state.noted(piece);
      if (noted === undefined) {
        // A power loss may have left half of a record that was being erased.
        state.erase(piece);
        continue;
      }
      const trust = this.#trustIn(piece, state);
      const certain = trust === 'full' && (noted.mark === SYNCED || state.sameBoot);
      if (trust === 'none' || !(certain || (await this.#stands(piece, noted.hash, signal)))) {
        state.forget(piece);
        continue;
      }
      // A copy: the state file's memory is written to.
      this.#written.set(piece, Uint8Array.from(noted.hash));
      if (noted.mark !== SYNCED) this.#sync.add(piece);
    }
  }

  #trustIn(piece: number, { changedAtNs }: StateFile): 'full' | 'none' | 'check' {
    const files = this.#layout.spans(piece).map(({ fileIndex }) => this.#file(fileIndex));
    if (files.some(({ found, sizeBytes }) => found?.sizeBytes !== sizeBytes)) return 'none';
    // Our own writes are always followed by one to the state file.
    const unchanged = files.every(
      ({ found }) =>
        changedAtNs !== undefined && found !== undefined && found.changedAtNs <= changedAtNs,
    );
    return unchanged ? 'full' : 'check';
  }

  async #stands(piece: number, hash: Uint8Array, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const job = { kind: 'check' as const, leafCount: this.#leafCount(piece) };
    const result = await this.#withSpans(piece, 'read', (spans) => ({ ...job, spans }));
    return result.stored && Buffer.compare(result.hash, hash) === 0;
  }

  async #recheck(piece: number, signal: AbortSignal): Promise<boolean> {
    const hash = this.#written.get(piece);
    const state = this.#state;
    if (hash === undefined || state === undefined || this.#isClosed) return true;
    const stands = await this.#stands(piece, hash, signal).catch(() => false);
    if (stands || signal.aborted || this.#isClosed) return true;
    // It was written once more meanwhile.
    if (this.#written.get(piece) !== hash) return true;
    this.#sync.forget(piece);
    // First, for a version that is not whole is held against its digests, and must lack it then.
    await state.withdraw(piece);
    await state.setWhole(false);
    return false;
  }

  /* Writing. */

  async #put(
    piece: number,
    expected: Uint8Array | undefined,
    job: (place: PutPlace) => DiskJob,
  ): Promise<PutResult> {
    if (this.#sync.error !== undefined) throw this.#sync.error;
    const state = this.#state;
    if (state === undefined || this.#isClosed) throw new Error('the store is not open');
    if (this.#written.has(piece)) await this.#forget(piece, state);
    // It is put right, and a crash must not leave it half right and called whole.
    if (state.isWhole) await state.setWhole(false);
    const result = await this.#withSpans(piece, 'write', (spans) =>
      job({
        spans,
        leafCount: this.#leafCount(piece),
        // A copy, for the message would else take all the memory that it is part of.
        expected: expected && Uint8Array.from(expected),
        record: state.placeOf(piece),
        digest: this.#digestPrefix(piece, spans[0]?.descriptor),
      }),
    );
    if (!result.stored) return result;
    state.written(piece, result.hash);
    this.#written.set(piece, result.hash);
    this.#sync.add(piece);
    return result;
  }

  async #withSpans(
    piece: number,
    access: 'read' | 'write',
    job: (spans: { descriptor: number; position: number; sizeBytes: number }[]) => DiskJob,
  ): Promise<DiskResult> {
    const spans = this.#layout.spans(piece);
    const indices = spans.map(({ fileIndex }) => fileIndex);
    return this.#open.use(indices, access, (files) =>
      this.#fileSystem.run(
        job(
          spans.map(({ offset, sizeBytes }, index) => ({
            descriptor: (files[index] as OpenedFile).descriptor,
            position: offset,
            sizeBytes,
          })),
        ),
      ),
    );
  }

  /**
   * It is written once more: a digest that has its old bytes is worth nothing, and what is noted of
   * them would be said of bytes that a crash cut off.
   */
  async #forget(piece: number, state: StateFile): Promise<void> {
    this.#written.delete(piece);
    this.#sync.forget(piece);
    await state.withdraw(piece);
    for (const { fileIndex } of this.#layout.spans(piece)) {
      const file = this.#file(fileIndex);
      file.prefixPieces = 0;
      await this.#fileSystem.run({ kind: 'forget', file: file.number });
    }
  }

  /** How far the digest of the piece's file may follow. */
  #digestPrefix(piece: number, descriptor: number | undefined): DigestPrefix | undefined {
    const { aligned, pieceLengthBytes, locate } = this.#layout;
    const { fileIndex, offset } = locate(piece);
    const file = this.#file(fileIndex);
    if (descriptor === undefined || !aligned) return undefined;
    const { digests, mustMatch = true } = this.#options;
    // Where it is no promise it can wait until all is here.
    if (!mustMatch || digests?.has(file.path) !== true) return undefined;
    const firstPiece = piece - offset / pieceLengthBytes;
    while (this.#written.has(firstPiece + file.prefixPieces)) {
      if (file.prefixPieces * pieceLengthBytes >= file.sizeBytes) break;
      file.prefixPieces += 1;
    }
    const prefixBytes = Math.min(file.sizeBytes, file.prefixPieces * pieceLengthBytes);
    return { file: file.number, descriptor, prefixBytes };
  }

  /* Completing. */

  async #complete(signal: AbortSignal): Promise<void> {
    const { folder, link } = this.#options;
    signal.throwIfAborted();
    await this.#sync.now();
    if (this.#sync.error !== undefined) throw this.#sync.error;
    if (this.#state?.isWhole !== true) await this.#makeWhole(signal);
    if (this.#state !== undefined) await this.#modes.set(this.#state, signal);
    if (link !== undefined) await placeLink(link, folder, this.#fileSystem, signal);
  }

  async #makeWhole(signal: AbortSignal): Promise<void> {
    const indices = this.#files.map((_, fileIndex) => fileIndex);
    let isRight = true;
    for (const fileIndex of indices) {
      isRight = (await this.#checkDigest(fileIndex, signal)) && isRight;
    }
    await eachOf(indices, SYNCS_AT_ONCE, (fileIndex) =>
      this.#open.use([fileIndex], 'read', ([file]) => (file as OpenedFile).sync()),
    );
    await this.#sync.syncFolders();
    if (isRight) await this.#state?.setWhole(true);
  }

  async #checkDigest(fileIndex: number, signal: AbortSignal): Promise<boolean> {
    const { path: relative, number, sizeBytes } = this.#file(fileIndex);
    const { digests, mustMatch = true } = this.#options;
    const expected = digests?.get(relative);
    if (expected === undefined) return true;
    const { hash } = await this.#open.use([fileIndex], 'read', ([file]) =>
      digestOf(
        { file: number, descriptor: (file as OpenedFile).descriptor, sizeBytes },
        {
          fileSystem: this.#fileSystem,
          signal,
        },
      ),
    );
    const actual = Buffer.from(hash).toString('hex');
    if (actual === expected) return true;
    if (!mustMatch) return false;
    const message = `${relative} has the SHA-256 ${actual}, not ${expected} as the source names`;
    throw new StoreError('DigestMismatch', message);
  }

  #file(fileIndex: number): VersionFile {
    return this.#files[fileIndex] as VersionFile;
  }

  #fileOf(piece: number): VersionFile {
    return this.#file(this.#layout.locate(piece).fileIndex);
  }

  #leafCount(piece: number): number {
    const { aligned, pieceLengthBytes } = this.#layout;
    const sizeBytes = this.#layout.pieceSizeBytes(piece);
    // Where pieces span files the hash is for this store alone.
    const fileSizeBytes = aligned ? this.#fileOf(piece).sizeBytes : sizeBytes;
    return leafCountOf({ sizeBytes, pieceLengthBytes, fileSizeBytes });
  }
}
