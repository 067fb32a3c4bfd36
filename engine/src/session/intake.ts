import { Bitfield } from '../pieces/bitfield.ts';
import type { Layout } from '../pieces/layout.ts';
import type { Clock } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import type { PiecePicker } from '../swarm/piecePicker.ts';
import type { BlockRequest } from '../wire/codec.ts';
import { HttpAssembly } from './httpAssembly.ts';
import { IncomingBuffers } from './incomingBuffers.ts';
import type { PieceAssembly } from './pullPlan.ts';
import { Suspects } from './suspects.ts';

/** What a piece must have to be kept; the feed is one. */
export interface KnownHashes {
  hashOf(piece: number): Uint8Array | undefined;
}

/** Who is sending a block; a PeerConnection is one. */
export interface BlockSender {
  readonly number: number;
  /** The rest of the block that it is sending goes nowhere. */
  dropTarget(): void;
}

export interface IntakeOptions {
  /** Names this transfer's pieces in the memory that it shares. */
  readonly owner: string;
  readonly layout: Layout;
  readonly store: PieceStore;
  readonly blockBytes: number;
}

export interface IntakeDependencies {
  readonly clock: Clock;
  readonly memory: PieceBuffers;
  readonly picker: PiecePicker;
  readonly feed: KnownHashes;
  /** Payload came by HTTP. */
  readonly onHttpPayload: (source: HttpAssembly['source'], bytes: number) => void;
  /** Whether this process signs what it reads from the origin, whatever others have signed. */
  readonly isSigning: () => boolean;
  /** On disk, verified; or as the origin gives it, when `isFirstHand`. */
  readonly onStored: (piece: number, hash: Uint8Array, isFirstHand: boolean) => void;
  /** Pieces may be asked of peers that could not be before. */
  readonly onFreed: () => void;
  /** Peer number: it sent wrong bytes of this piece. */
  readonly onGuilty: (sender: number, piece: number) => void;
  /** The disk failed. */
  readonly onBroken: (error: unknown) => void;
}

/** One is read while another one is written. */
const COPIES_AT_ONCE = 2;

/** Peers that need longer for the rest of a piece leave a node under its floor that HTTP would help. */
const SLOW_MS = 5000;
/** What is younger may only have begun. */
const MIN_AGE_MS = 1000;
/** Each time what peers sent is lost if HTTP brings no more than a part: after that it is theirs... */
const MAX_TAKEN_OVER = 3;
/** ...for so long: by then it may be others that are slow. */
const THEIRS_MS = 300_000;

/** Where pieces come together, from peers or by HTTP, until they are verified and on disk. */
export class Intake {
  readonly #options: IntakeOptions;
  readonly #dependencies: IntakeDependencies;
  readonly #layout: Layout;
  readonly #picker: PiecePicker;
  readonly #feed: KnownHashes;
  readonly #suspects = new Suspects();
  /** Pieces in progress. */
  readonly #buffers: IncomingBuffers;
  /** Who is sending a block into its buffer now, by piece and offset. */
  readonly #streaming = new Map<string, BlockSender>();
  readonly #assemblies = new Map<number, HttpAssembly>();
  /** To be copied from an earlier version, with their hashes, in order. */
  readonly #toCopy = new Map<number, Uint8Array>();
  /** Of these it was tried: what could not be copied is fetched. */
  readonly #copied = new Set<number>();
  /** How often pieces were taken from peers that were late or slow, and when last. */
  readonly #takenOver = new Map<number, { readonly count: number; readonly atMs: number }>();
  readonly #unnamedWaiters = new Set<() => void>();
  readonly #arrivalWaiters = new Set<() => void>();
  readonly #stopped = new AbortController();
  #storingBytes = 0;
  #copying = 0;

  constructor(options: IntakeOptions, dependencies: IntakeDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    this.#layout = options.layout;
    this.#picker = dependencies.picker;
    this.#feed = dependencies.feed;
    const pieceSizeBytes = (piece: number) => options.layout.pieceSizeBytes(piece);
    this.#buffers = new IncomingBuffers(options.owner, pieceSizeBytes, dependencies);
  }

  /** Waiting for hash and disk. */
  get storingBytes(): number {
    return this.#storingBytes;
  }

  /** Pieces that have begun, and are not stored yet. */
  get comingIn(): number {
    return this.#buffers.count;
  }

  stop(): void {
    this.#stopped.abort(new Error('the transfer was stopped'));
    this.feedGrew();
    this.#toCopy.clear();
    for (const assembly of [...this.#assemblies.values()]) assembly.abort();
    for (const piece of this.#buffers.pieces()) {
      if (this.#picker.state(piece) === 'active') this.#buffers.drop(piece);
    }
  }

  /** Pieces may be named that were not. */
  feedGrew(): void {
    for (const wake of this.#unnamedWaiters) wake();
    this.#arrived();
  }

  /* From an earlier version. */

  /** Instead of fetching it, once those before it are copied. */
  copy(piece: number, hash: Uint8Array): void {
    if (this.#picker.state(piece) !== 'missing' || this.#copied.has(piece)) return;
    this.#copied.add(piece);
    this.#picker.enter(piece, 'taken');
    this.#toCopy.set(piece, hash);
    this.#copyNext();
  }

  /** Whether it is about to be: nobody owes it to us. */
  isCopied(piece: number): boolean {
    return this.#copied.has(piece) && this.#picker.state(piece) !== 'missing';
  }

  #copyNext(): void {
    for (const [piece, hash] of this.#toCopy) {
      if (this.#copying >= COPIES_AT_ONCE || this.#stopped.signal.aborted) return;
      this.#toCopy.delete(piece);
      this.#picker.enter(piece, 'verifying');
      this.#copying += 1;
      this.#copy(piece, hash).finally(() => {
        this.#copying -= 1;
        this.#copyNext();
      });
    }
  }

  /** Never rejects. */
  async #copy(piece: number, hash: Uint8Array): Promise<void> {
    try {
      const { stored } = await this.#options.store.copy(piece, hash);
      this.#picker.enter(piece, stored ? 'held' : 'missing');
      if (stored) this.#dependencies.onStored(piece, hash, false);
      else this.#dependencies.onFreed();
      this.#arrived();
    } catch (error) {
      this.#picker.enter(piece, 'missing');
      this.#dependencies.onBroken(error);
    }
  }

  /* From peers. */

  /** Something of the piece was asked for: its memory is taken, so that nobody else counts on it. */
  reserve(piece: number): void {
    this.#buffers.of(piece);
  }

  /** Where the bytes of a block go; undefined: they are not needed. */
  blockBegins(
    sender: BlockSender,
    { piece, offset, length }: BlockRequest,
  ): Uint8Array | undefined {
    if (!this.#picker.wants(piece, offset)) return undefined;
    const key = `${piece}/${offset}`;
    this.#streaming.get(key)?.dropTarget();
    this.#streaming.set(key, sender);
    return this.#buffers.of(piece).subarray(offset, offset + length);
  }

  /** It came whole, into what blockBegins() gave. Answers who else was asked for it; 0: nobody. */
  blockEnds(sender: BlockSender, { piece, offset }: BlockRequest): number {
    const key = `${piece}/${offset}`;
    if (this.#streaming.get(key) !== sender) return 0;
    this.#streaming.delete(key);
    const { complete, other } = this.#picker.arrived(sender.number, piece, offset);
    if (complete) this.#verify(piece);
    return other;
  }

  /** Blocks that come still go nowhere: nobody is to blame for what they are. */
  giveUp(piece: number): void {
    this.#picker.leaveActive(piece, 'missing');
    this.#dropStreams(piece);
    this.#buffers.drop(piece);
  }

  senderLeft(sender: BlockSender): void {
    for (const [key, each] of this.#streaming) if (each === sender) this.#streaming.delete(key);
  }

  /* By HTTP. */

  mayAssemble(piece: number): boolean {
    const state = this.#picker.state(piece);
    if (state === 'missing') return true;
    return state === 'active' && this.#picker.isStuck(piece, this.#dependencies.clock.now());
  }

  /**
   * For a node that is short: also what peers were asked for and bring late, and where nothing else is
   * left to fetch what they bring slowly. Not for ever: where the node's own link is slow HTTP brings
   * nothing sooner, and each time what had come is lost.
   */
  mayTopUp(piece: number): boolean {
    if (this.#picker.state(piece) !== 'active') return this.mayAssemble(piece);
    if (!this.#picker.isAsked(piece)) return true;
    if (this.#takenLately(piece) >= MAX_TAKEN_OVER) return false;
    return this.mayAssemble(piece) || (this.#picker.isAllBegun && this.#isSlow(piece));
  }

  #takenLately(piece: number): number {
    const taken = this.#takenOver.get(piece);
    if (taken === undefined || this.#dependencies.clock.now() - taken.atMs > THEIRS_MS) return 0;
    return taken.count;
  }

  /** By its pace so far: what is nearly complete is left to peers the longest. */
  #isSlow(piece: number): boolean {
    const ageMs = this.#buffers.ageMs(piece);
    const arrived = this.#picker.arrivedShare(piece);
    return ageMs >= MIN_AGE_MS && (1 - arrived) * ageMs > arrived * SLOW_MS;
  }

  /** Pieces for which mayTopUp() holds, as a BitTorrent bitfield. */
  acceptablePieces(): Uint8Array {
    const { pieceCount } = this.#layout;
    const acceptable = new Bitfield(pieceCount);
    for (let piece = 0; piece < pieceCount; piece += 1) {
      if (this.mayTopUp(piece)) acceptable.add(piece);
    }
    return acceptable.bytes;
  }

  /** Undefined: held, being verified, or taken; or it is peers' still. */
  assemble(
    piece: number,
    source: HttpAssembly['source'],
    isTopUp = false,
  ): PieceAssembly | undefined {
    if (isTopUp ? !this.mayTopUp(piece) : !this.mayAssemble(piece)) return undefined;
    if (isTopUp && this.#picker.isAsked(piece)) {
      const count = this.#takenLately(piece) + 1;
      this.#takenOver.set(piece, { count, atMs: this.#dependencies.clock.now() });
    }
    const gaps = this.#takeOver(piece, source);
    const assembly = new HttpAssembly(piece, source, this.#buffers.of(piece), gaps, {
      wrote: (bytes) => this.#dependencies.onHttpPayload(source, bytes),
      finish: (finished) => this.#finish(finished),
      abort: () => {
        this.#assemblies.delete(piece);
        this.#buffers.drop(piece);
        this.#picker.enter(piece, 'missing');
        this.#dependencies.onFreed();
      },
    });
    this.#assemblies.set(piece, assembly);
    this.#arrived();
    return assembly;
  }

  /** Resolves when a piece begins to come by HTTP, is stored, or named; rejects when it is aborted. */
  arrival(signal: AbortSignal): Promise<void> {
    const ended = AbortSignal.any([signal, this.#stopped.signal]);
    return new Promise((resolve, reject) => {
      const wake = () => {
        this.#arrivalWaiters.delete(wake);
        ended.removeEventListener('abort', wake);
        if (ended.aborted) reject(ended.reason);
        else resolve();
      };
      if (ended.aborted) {
        wake();
        return;
      }
      this.#arrivalWaiters.add(wake);
      ended.addEventListener('abort', wake);
    });
  }

  #arrived(): void {
    for (const wake of [...this.#arrivalWaiters]) wake();
  }

  /** Whether its bytes come in now by HTTP, so that follow() gives them. */
  assembles(piece: number): boolean {
    return this.#assemblies.has(piece);
  }

  follow(piece: number, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const assembly = this.#assemblies.get(piece);
    if (assembly === undefined) throw new Error(`piece ${piece} is not coming in`);
    return assembly.follow(offset, AbortSignal.any([signal, this.#stopped.signal]));
  }

  /** All blocks came over BitTorrent. */
  #verify(piece: number): void {
    const senders = this.#picker.leaveActive(piece, 'verifying');
    const bytes = this.#buffers.of(piece);
    const expected = this.#feed.hashOf(piece);
    // Quarantined since it was asked for: nobody can say whether these bytes are right.
    if (expected === undefined) {
      this.#buffers.drop(piece);
      this.#picker.enter(piece, 'missing');
      return;
    }
    this.#put(piece, bytes, expected).then(
      ({ stored }) => {
        if (stored) return;
        const sole = this.#suspects.mismatch(piece, bytes, senders);
        if (sole === undefined) this.#picker.doubt(piece);
        else this.#dependencies.onGuilty(sole, piece);
        this.#dependencies.onFreed();
      },
      () => {},
    );
  }

  /** What is not here yet of a piece that comes by HTTP from now on. */
  #takeOver(piece: number, source: HttpAssembly['source']): { offset: number; length: number }[] {
    const sizeBytes = this.#layout.pieceSizeBytes(piece);
    const whole = [{ offset: 0, length: sizeBytes }];
    if (this.#picker.state(piece) === 'missing') {
      this.#picker.enter(piece, 'taken');
      return whole;
    }
    const { blockBytes } = this.#options;
    const senders = this.#picker.leaveActive(piece, 'taken');
    this.#dropStreams(piece);
    // What peers sent is not what the origin gave: nobody could sign the mixture.
    if (source === 'origin' && this.#dependencies.isSigning()) return whole;
    // Nor would it be known whose fault it is if it is wrong again.
    if (this.#picker.isDoubtful(piece)) return whole;
    return [...senders].flatMap((sender, block) => {
      const offset = block * blockBytes;
      return sender === 0 ? [{ offset, length: Math.min(blockBytes, sizeBytes - offset) }] : [];
    });
  }

  #dropStreams(piece: number): void {
    for (const [key, sender] of this.#streaming) {
      if (!key.startsWith(`${piece}/`)) continue;
      sender.dropTarget();
      this.#streaming.delete(key);
    }
  }

  async #finish(assembly: HttpAssembly): Promise<'verified' | 'mismatch'> {
    const { piece, source, bytes, isWhole } = assembly;
    try {
      while (source === 'relayHttp' && this.#feed.hashOf(piece) === undefined) await this.#named();
      const isSigned = source === 'origin' && isWhole && this.#dependencies.isSigning();
      const expected = isSigned ? undefined : this.#feed.hashOf(piece);
      // Not named any more since it was begun: nobody can say whether these bytes are right.
      if (expected === undefined && !isSigned) return 'mismatch';
      this.#picker.enter(piece, 'verifying');
      const { stored } = await this.#put(piece, bytes, expected);
      if (!stored && !isWhole) this.#picker.doubt(piece);
      return stored ? 'verified' : 'mismatch';
    } finally {
      this.#assemblies.delete(piece);
      if (this.#picker.state(piece) === 'taken') {
        this.#buffers.drop(piece);
        this.#picker.enter(piece, 'missing');
      }
    }
  }

  /** The feed named something. */
  #named(): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = () => {
        this.#unnamedWaiters.delete(wake);
        if (this.#stopped.signal.aborted) reject(this.#stopped.signal.reason);
        else resolve();
      };
      this.#unnamedWaiters.add(wake);
    });
  }

  /** From verifying to held, or back to missing. */
  async #put(piece: number, bytes: Uint8Array, expected: Uint8Array | undefined) {
    const { store, blockBytes } = this.#options;
    this.#storingBytes += bytes.byteLength;
    try {
      const result = await store.put(piece, bytes, expected);
      this.#picker.enter(piece, result.stored ? 'held' : 'missing');
      if (result.stored) {
        this.#takenOver.delete(piece);
        for (const sender of this.#suspects.verified(piece, bytes, blockBytes)) {
          this.#dependencies.onGuilty(sender, piece);
        }
        const reusable = this.#assemblies.get(piece)?.wasFollowed !== true;
        // From here on nobody follows it: it is read like any other.
        this.#assemblies.delete(piece);
        this.#buffers.keep(piece, reusable);
        this.#dependencies.onStored(piece, result.hash, expected === undefined);
        this.#arrived();
      }
      return result;
    } catch (error) {
      this.#picker.enter(piece, 'missing');
      this.#dependencies.onBroken(error);
      throw error;
    } finally {
      this.#buffers.drop(piece);
      this.#storingBytes -= bytes.byteLength;
    }
  }
}
