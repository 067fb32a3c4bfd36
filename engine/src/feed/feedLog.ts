import { type DecodedBatch, isNewerBatch, type PieceHash } from './batch.ts';
import { type BatchFault, type BatchJudge, BatchVerifier } from './batchJudge.ts';
import { HASH_BYTES } from './pieceHash.ts';

export type FeedRefusal =
  /** Not one batch within its bounds. */
  | 'malformed'
  /** In the format of a newer release: that is nobody's fault. */
  | 'newer'
  | 'wrongSwarm'
  /** Names pieces that the layout does not have. */
  | 'outOfRange'
  | BatchFault;

export interface FeedAcceptance {
  /** Hashes that are valid from now on, and were not before. */
  readonly fresh: readonly PieceHash[];
  /** Nothing in it is new, or counts; nothing was verified and nothing is to be passed on. */
  readonly duplicate: boolean;
  /** Nothing of the batch was taken; the sender is at fault, unless it is newer. */
  readonly refused?: FeedRefusal;
  /** In quarantine since this batch: two pullers signed different hashes of them. */
  readonly conflicts: readonly number[];
}

export interface FeedLogOptions {
  readonly swarmId: Uint8Array;
  /** Raw Ed25519 public key of the distribution. */
  readonly feedKey: Uint8Array;
  readonly pieceCount: number;
}

/** A puller's second hash of a piece proves it wrong, a third one proves nothing more. */
const MAX_HASHES_OF_PULLER = 2;
/** What is kept of one piece, and so what a peer can have to send, and a report to show. */
export const MAX_BATCHES_PER_PIECE = 16;

/** What is claimed of one piece: by hash (hex), the pullers that signed it. */
type Claims = Map<string, Set<string>>;

/**
 * The merged feed of one swarm: which hash each piece has, and the signed batches that prove it,
 * in the order they came, for passing on and for late joiners.
 *
 * A piece has a valid hash while one hash has more pullers behind it than any other. Two pullers
 * that disagree thereby put it into quarantine, until a third one's signature settles it, or the
 * control server, which asks the origin itself, revokes the one that was wrong.
 * Memory is bounded: a batch is kept only when it says something new about a piece, and of each
 * piece only so many different things are kept, few of one puller. Who passes on what is one too
 * many cannot know that it is: the rest of the batch counts.
 */
export class FeedLog {
  readonly #options: FeedLogOptions;
  readonly #judge: BatchJudge;
  /** Of all pieces, one after the other; it counts where #valid says so. */
  readonly #hashes: Buffer;
  readonly #valid: Uint8Array;
  /** Who has spoken alone of a piece, and once: 1 + the place among #pullers. */
  readonly #soleSigner: Uint32Array;
  /** By key (hex). */
  readonly #pullers = new Map<string, number>();
  /** Of the pieces of which more was said than that. */
  readonly #claims = new Map<number, Claims>();
  readonly #batches: Uint8Array[] = [];
  /** Keys (hex) whose word does not count. */
  readonly #revoked = new Set<string>();
  /** Pieces of which different hashes were signed, settled or not. */
  readonly #disputed = new Set<number>();
  #known = 0;

  constructor(options: FeedLogOptions, judge: BatchJudge = new BatchVerifier(options)) {
    this.#options = options;
    this.#judge = judge;
    this.#hashes = Buffer.alloc(options.pieceCount * HASH_BYTES);
    this.#valid = new Uint8Array(options.pieceCount);
    this.#soleSigner = new Uint32Array(options.pieceCount);
  }

  /** How many pieces have a valid hash. */
  get knownPieces(): number {
    return this.#known;
  }

  /** How many batches there are: the index that the next one will have. */
  get length(): number {
    return this.#batches.length;
  }

  /** The 32-byte hash of a piece; undefined while unknown or in quarantine. */
  hashOf(piece: number): Buffer | undefined {
    // A copy: what is kept changes with what is said.
    return this.names(piece) ? Buffer.from(this.#kept(piece)) : undefined;
  }

  /** Whether it has a valid hash. */
  names(piece: number): boolean {
    return this.#valid[piece] === 1;
  }

  /** Two pullers signed different hashes of this piece and nobody has settled it yet. */
  quarantined(piece: number): boolean {
    return this.#claims.has(piece) && !this.names(piece);
  }

  /** Pieces of which pullers that are not revoked signed different hashes, settled or not. */
  get disputed(): ReadonlySet<number> {
    return this.#disputed;
  }

  /** By hash (hex), the pullers (hex) that signed it. */
  claimsOf(piece: number): ReadonlyMap<string, ReadonlySet<string>> {
    return this.#claims.get(piece) ?? this.#soleClaim(piece);
  }

  /** One signed batch for each hash and puller that stands for the piece: what can be shown. */
  evidenceOf(piece: number): Uint8Array[] {
    const shown = new Set<string>();
    const claims = this.claimsOf(piece);
    return this.#batches.filter((bytes) => {
      const batch = this.#judge.decode(bytes);
      const hash = batch?.hashes.find((each) => each.piece === piece)?.hash.toString('hex');
      const puller = batch?.certificate.puller ?? '';
      if (hash === undefined || claims.get(hash)?.has(puller) !== true) return false;
      const claim = `${puller}/${hash}`;
      return !shown.has(claim) && shown.add(claim).size > 0;
    });
  }

  /** What these pullers (raw keys) signed does not count any more. Answers what that changes. */
  revoke(pullerKeys: readonly Uint8Array[]): number[] {
    const keys = pullerKeys.map((key) => Buffer.from(key).toString('hex'));
    const fresh = keys.filter((key) => !this.#revoked.has(key));
    for (const key of fresh) this.#revoked.add(key);
    const changed: number[] = [];
    for (let piece = 0; fresh.length > 0 && piece < this.#options.pieceCount; piece += 1) {
      if (this.#withdraw(piece, fresh)) changed.push(piece);
    }
    return changed;
  }

  /** Signed batches from this index on, to send to a peer that has those before. */
  batches(fromIndex = 0): readonly Uint8Array[] {
    return this.#batches.slice(fromIndex);
  }

  accept(batchBytes: Uint8Array): FeedAcceptance {
    const batch = this.#judge.decode(batchBytes);
    if (batch === undefined) return refusal(isNewerBatch(batchBytes) ? 'newer' : 'malformed');
    const { puller } = batch.certificate;
    if (!batch.swarmId.equals(this.#options.swarmId)) return refusal('wrongSwarm');
    // Who passes it on may not have heard of it.
    if (this.#revoked.has(puller)) return { fresh: [], conflicts: [], duplicate: true };
    const last = batch.hashes.at(-1)?.piece ?? 0;
    if (last >= this.#options.pieceCount) return refusal('outOfRange');

    const news = this.#newsIn(batch, puller);
    if (news.length === 0) return { fresh: [], conflicts: [], duplicate: true };
    const refused = this.#judge.faultOf(batch);
    if (refused !== undefined) return refusal(refused);

    this.#batches.push(batch.bytes);
    const fresh: PieceHash[] = [];
    const conflicts: number[] = [];
    for (const { piece, hash } of news) {
      const outcome = this.#claim(piece, hash, puller);
      if (outcome === 'fresh') fresh.push({ piece, hash });
      if (outcome === 'conflict') conflicts.push(piece);
    }
    return { fresh, conflicts, duplicate: false };
  }

  /** What it says that is not known, and is kept; a second puller's word counts only in a dispute. */
  #newsIn(batch: DecodedBatch, puller: string): { piece: number; hash: Buffer }[] {
    return batch.hashes.filter(({ piece, hash }) => {
      if (this.names(piece) && this.#kept(piece).equals(hash)) return false;
      const claims = this.#claims.get(piece);
      if (claims === undefined) return true;
      return claims.get(hash.toString('hex'))?.has(puller) !== true && mayAdd(claims, puller);
    });
  }

  #claim(piece: number, hash: Buffer, puller: string): 'fresh' | 'conflict' | 'unsettled' {
    if (this.#soleSigner[piece] === 0 && !this.#claims.has(piece)) {
      this.#soleSigner[piece] = 1 + this.#placeOf(puller);
      this.#name(piece, hash);
      return 'fresh';
    }
    const claims = this.#claims.get(piece) ?? this.#soleClaim(piece);
    this.#claims.set(piece, claims);
    this.#soleSigner[piece] = 0;
    const hex = hash.toString('hex');
    claims.set(hex, (claims.get(hex) ?? new Set()).add(puller));

    const before = this.hashOf(piece);
    const after = this.#settle(piece, claims);
    if (after !== undefined) return before?.equals(after) === true ? 'unsettled' : 'fresh';
    return before === undefined ? 'unsettled' : 'conflict';
  }

  /** Answers whether any of these had said something of the piece. */
  #withdraw(piece: number, pullers: readonly string[]): boolean {
    const claims = this.#claims.get(piece) ?? this.#soleClaim(piece);
    let isTouched = false;
    for (const [hash, signers] of claims) {
      for (const key of pullers) isTouched = signers.delete(key) || isTouched;
      if (signers.size === 0) claims.delete(hash);
    }
    if (!isTouched) return false;
    this.#soleSigner[piece] = 0;
    if (claims.size === 0) this.#claims.delete(piece);
    this.#settle(piece, claims);
    return true;
  }

  /** The piece's hash by what stands for it now. */
  #settle(piece: number, claims: Claims): Buffer | undefined {
    if (claims.size > 1) this.#disputed.add(piece);
    else this.#disputed.delete(piece);
    const [best, second] = [...claims.entries()].sort(([, a], [, b]) => b.size - a.size);
    const settled = best !== undefined && best[1].size > (second?.[1].size ?? 0);
    const after = settled ? Buffer.from(best[0], 'hex') : undefined;
    this.#name(piece, after);
    return after;
  }

  #name(piece: number, hash: Buffer | undefined): void {
    this.#known += Number(hash !== undefined) - Number(this.names(piece));
    this.#valid[piece] = Number(hash !== undefined);
    if (hash !== undefined) this.#kept(piece).set(hash);
  }

  #kept(piece: number): Buffer {
    return this.#hashes.subarray(piece * HASH_BYTES, (piece + 1) * HASH_BYTES);
  }

  #placeOf(puller: string): number {
    const place = this.#pullers.get(puller) ?? this.#pullers.size;
    this.#pullers.set(puller, place);
    return place;
  }

  /** What its only signer said, if there is just one. */
  #soleClaim(piece: number): Claims {
    const signer = this.#soleSigner[piece] ?? 0;
    if (signer === 0) return new Map();
    const puller = [...this.#pullers.keys()][signer - 1] as string;
    return new Map([[this.#kept(piece).toString('hex'), new Set([puller])]]);
  }
}

function mayAdd(claims: Claims, puller: string): boolean {
  const all = [...claims.values()];
  const own = all.filter((signers) => signers.has(puller)).length;
  const kept = all.reduce((sum, { size }) => sum + size, 0);
  return own < MAX_HASHES_OF_PULLER && kept < MAX_BATCHES_PER_PIECE;
}

function refusal(refused: FeedRefusal): FeedAcceptance {
  return { fresh: [], conflicts: [], duplicate: false, refused };
}
