import type { FeedLog } from '../feed/feedLog.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import type { Layout } from '../pieces/layout.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import type { PiecePicker } from '../swarm/piecePicker.ts';
import type { FeedPublisher } from './feedPublisher.ts';
import type { Intake } from './intake.ts';

export interface HoldingsDependencies {
  readonly layout: Layout;
  readonly store: PieceStore;
  readonly feed: FeedLog;
  readonly picker: PiecePicker;
  readonly intake: Intake;
  readonly publisher: FeedPublisher;
  /** It may be given away from now on. */
  readonly onOffered: (piece: number) => void;
  /** What we took for the piece is not what it is. */
  readonly onDropped: (piece: number) => void;
}

/** Which pieces are here, what each of them is, and whether that is what it should be. */
export class Holdings {
  /** Held pieces that were announced; what of it is in doubt now is not given away. */
  readonly offered: Bitfield;
  readonly #dependencies: HoldingsDependencies;
  readonly #pieceCount: number;
  /** Verified and on disk. */
  readonly #held: Bitfield;
  /** What each held piece is. */
  readonly #hashes: (Uint8Array | undefined)[];
  /** Known by digests, so that no feed can say otherwise. */
  #proven: ReadonlyMap<number, Uint8Array> = new Map();
  /** On disk, and not named now. */
  readonly #found = new Map<number, Uint8Array>();
  /** They were named otherwise before, or may be: who has not heard of it serves what they were. */
  readonly #contested = new Set<number>();
  #verifiedBytes = 0;

  constructor(dependencies: HoldingsDependencies) {
    const { pieceCount } = dependencies.layout;
    this.#dependencies = dependencies;
    this.#pieceCount = pieceCount;
    this.#held = new Bitfield(pieceCount);
    this.offered = new Bitfield(pieceCount);
    this.#hashes = new Array(pieceCount);
  }

  get count(): number {
    return this.#held.count;
  }

  get full(): boolean {
    return this.#held.full;
  }

  get verifiedBytes(): number {
    return this.#verifiedBytes;
  }

  has(piece: number): boolean {
    return this.#held.has(piece);
  }

  /** Whether honest peers may have other bytes of it, that were right once. */
  isContested(piece: number): boolean {
    return this.#contested.has(piece);
  }

  /** What stood on disk when the transfer began. */
  open(verified: ReadonlyMap<number, Uint8Array>, proven: ReadonlyMap<number, Uint8Array>): void {
    this.#proven = proven;
    for (const [piece, hash] of verified) {
      // With another hash it is not what the swarm has: it is fetched again. Without one nobody knows
      // what it is: it may be named before it is fetched.
      if (proven.has(piece)) this.#recover(piece, hash);
      else this.#found.set(piece, hash);
    }
    for (let piece = 0; piece < this.#pieceCount; piece += 1) this.reconcile(piece);
  }

  /** It was fetched. Without a hash in the feed it is offered when it is signed. */
  stored(piece: number, hash: Uint8Array, isFirstHand: boolean): void {
    this.#found.delete(piece);
    this.#hold(piece, hash);
    if (isFirstHand || this.#proven.has(piece)) this.#signUnlessNamed(piece, hash);
    this.reconcile(piece);
  }

  /** Whether it may be given away: held, and as it is signed, or about to be signed as it is. */
  serves(piece: number): boolean {
    const own = this.#hashes[piece];
    const { feed } = this.#dependencies;
    if (own === undefined || feed.quarantined(piece)) return false;
    const named = feed.hashOf(piece);
    return named === undefined ? !this.offered.has(piece) : isEqual(named, own);
  }

  /** What others can have of us: offered, and not in doubt. */
  servable(): Bitfield {
    const pieces = new Bitfield(this.#pieceCount);
    for (const piece of this.offered.pieces()) if (this.serves(piece)) pieces.add(piece);
    return pieces;
  }

  /** Whether something is missing that the feed names and that no earlier version brings. */
  lacksNamed(): boolean {
    if (this.full) return false;
    const { intake, feed } = this.#dependencies;
    for (let piece = 0; piece < this.#pieceCount; piece += 1) {
      if (this.has(piece) || intake.isCopied(piece)) continue;
      if (feed.names(piece)) return true;
    }
    return false;
  }

  /** Whether there are pieces here of which nobody knows now what they must be. */
  isInDoubt(): boolean {
    for (let piece = 0; piece < this.#pieceCount; piece += 1) {
      const isOurs = this.#proven.has(piece) || this.#dependencies.publisher.has(piece);
      if (!isOurs && !this.#isAsNamed(piece)) return true;
    }
    return false;
  }

  /** Brings what we do with a piece in line with what is known of it. */
  reconcile(piece: number): void {
    const { feed, intake, picker, publisher, store } = this.#dependencies;
    const named = feed.hashOf(piece);
    const own = this.#hashes[piece];
    // Blocks of it were asked for as what it was said to be before.
    if (picker.state(piece) === 'active') intake.giveUp(piece);
    const isWithdrawn = picker.isNamed(piece) && named === undefined;
    if (isWithdrawn || feed.disputed.has(piece)) this.#contested.add(piece);
    picker.name(piece, named !== undefined);
    const found = this.#found.get(piece);
    if (found !== undefined && named !== undefined) {
      this.#found.delete(piece);
      if (isEqual(found, named) && picker.state(piece) === 'missing') {
        this.#recover(piece, found);
        this.#offer(piece);
        return;
      }
    }
    if (own === undefined) {
      const hash = this.#proven.get(piece) ?? named;
      if (hash === undefined || !store.hasEarlier(piece, hash)) return;
      intake.copy(piece, hash);
    } else if (named === undefined) {
      // Nobody vouches for it any more, perhaps since before it had reached the disk. What nobody has
      // vouched for yet is no such piece.
      const isRevoked = !feed.quarantined(piece) && !publisher.awaitsSignature(piece);
      if (!isRevoked || this.#proven.has(piece)) return;
      this.#drop(piece);
      // It is pulled again by somebody, and may well be the same.
      this.#found.set(piece, own);
    } else if (isEqual(named, own)) this.#offer(piece);
    // Else somebody signed something else; unless ours has its say still, or is known better.
    else if (!publisher.has(piece) && !this.#proven.has(piece)) this.#drop(piece);
  }

  /** It is on the disk from before. */
  #recover(piece: number, hash: Uint8Array): void {
    if (!isEqual(this.#proven.get(piece) ?? hash, hash)) return;
    this.#dependencies.picker.enter(piece, 'held');
    this.#hold(piece, hash);
    this.#signUnlessNamed(piece, hash);
  }

  #hold(piece: number, hash: Uint8Array): void {
    this.#held.add(piece);
    this.#hashes[piece] = hash;
    this.#verifiedBytes += this.#dependencies.layout.pieceSizeBytes(piece);
  }

  #offer(piece: number): void {
    const { publisher, onOffered } = this.#dependencies;
    publisher.drop(piece);
    if (this.offered.add(piece)) onOffered(piece);
  }

  #drop(piece: number): void {
    const { layout, picker, publisher, onDropped } = this.#dependencies;
    publisher.drop(piece);
    this.#held.delete(piece);
    this.offered.delete(piece);
    this.#hashes[piece] = undefined;
    this.#verifiedBytes -= layout.pieceSizeBytes(piece);
    picker.enter(piece, 'missing');
    onDropped(piece);
  }

  #signUnlessNamed(piece: number, hash: Uint8Array): void {
    const { feed, publisher } = this.#dependencies;
    const named = feed.hashOf(piece);
    if (named === undefined || !isEqual(named, hash)) publisher.add(piece, hash);
  }

  #isAsNamed(piece: number): boolean {
    const own = this.#hashes[piece];
    const named = this.#dependencies.feed.hashOf(piece);
    return own !== undefined && named !== undefined && isEqual(own, named);
  }
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
