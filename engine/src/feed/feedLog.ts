import { hash as digest, type KeyObject } from 'node:crypto';
import { type DecodedBatch, decodeBatch } from './batch.ts';
import { certificateHolds, covers } from './certificate.ts';
import type { PieceHash } from './feedSigner.ts';
import { publicKeyOf, signatureHolds } from './keys.ts';

export type FeedRefusal =
  /** Not one batch within its bounds. */
  | 'malformed'
  | 'wrongSwarm'
  /** Names pieces that the layout does not have. */
  | 'outOfRange'
  /** Names pieces outside the puller's extents. */
  | 'notCertified'
  | 'badCertificate'
  | 'badSignature'
  /** So many different hashes of one piece that no more are kept. */
  | 'tooManyHashes';

export interface FeedAcceptance {
  /** Hashes that are valid from now on, and were not before. */
  readonly fresh: readonly PieceHash[];
  /** Everything in it was known; nothing was verified and nothing is to be passed on. */
  readonly duplicate: boolean;
  /** The sender is at fault; nothing of the batch was taken. */
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

/** More different hashes of one piece than this mean a puller that signs noise. */
const MAX_HASHES_PER_PIECE = 4;
/** Each of them signed by so many pullers: what is kept, and so what a peer can have to send. */
export const MAX_BATCHES_PER_PIECE = MAX_HASHES_PER_PIECE ** 2;
/** Renewed grants bring new certificates; those of the busiest pullers stay cached. */
const MAX_CACHED_CERTIFICATES = 1024;

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
 * piece only so many different things are kept.
 */
export class FeedLog {
  readonly #options: FeedLogOptions;
  readonly #feedKey: KeyObject;
  readonly #claims: (Claims | undefined)[];
  readonly #hashes: (Buffer | undefined)[];
  readonly #batches: Uint8Array[] = [];
  readonly #certificates = new Map<string, KeyObject>();
  /** Keys (hex) whose word does not count. */
  readonly #revoked = new Set<string>();
  /** Pieces of which different hashes were signed, settled or not. */
  readonly #disputed = new Set<number>();
  #known = 0;

  constructor(options: FeedLogOptions) {
    this.#options = options;
    this.#feedKey = publicKeyOf(options.feedKey);
    this.#claims = new Array(options.pieceCount);
    this.#hashes = new Array(options.pieceCount);
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
    return this.#hashes[piece];
  }

  /** Two pullers signed different hashes of this piece and nobody has settled it yet. */
  quarantined(piece: number): boolean {
    return this.#claims[piece] !== undefined && this.#hashes[piece] === undefined;
  }

  /** Pieces of which pullers that are not revoked signed different hashes, settled or not. */
  get disputed(): ReadonlySet<number> {
    return this.#disputed;
  }

  /** By hash (hex), the pullers (hex) that signed it. */
  claimsOf(piece: number): ReadonlyMap<string, ReadonlySet<string>> {
    return this.#claims[piece] ?? new Map();
  }

  /** One signed batch for each hash and puller that stands for the piece: what can be shown. */
  evidenceOf(piece: number): Uint8Array[] {
    const shown = new Set<string>();
    return this.#batches.filter((bytes) => {
      const batch = decodeBatch(bytes);
      const hash = batch?.hashes[piece - batch.first]?.toString('hex');
      const puller = batch?.certificate.pullerKey.toString('hex') ?? '';
      if (hash === undefined || this.#revoked.has(puller)) return false;
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
    for (const [piece, claims] of fresh.length === 0 ? [] : this.#claims.entries()) {
      if (claims === undefined) continue;
      let isTouched = false;
      for (const [hash, signers] of claims) {
        for (const key of fresh) isTouched = signers.delete(key) || isTouched;
        if (signers.size === 0) claims.delete(hash);
      }
      if (!isTouched) continue;
      if (claims.size === 0) this.#claims[piece] = undefined;
      this.#settle(piece);
      changed.push(piece);
    }
    return changed;
  }

  /** Signed batches from this index on, to send to a peer that has those before. */
  batches(fromIndex = 0): readonly Uint8Array[] {
    return this.#batches.slice(fromIndex);
  }

  accept(batchBytes: Uint8Array): FeedAcceptance {
    const batch = decodeBatch(batchBytes);
    if (batch === undefined) return refusal('malformed');
    const puller = batch.certificate.pullerKey.toString('hex');
    if (!batch.swarmId.equals(this.#options.swarmId)) return refusal('wrongSwarm');
    // Who passes it on may not have heard of it.
    if (this.#revoked.has(puller)) return { fresh: [], conflicts: [], duplicate: true };
    if (batch.first + batch.hashes.length > this.#options.pieceCount) return refusal('outOfRange');

    const news = this.#newsIn(batch, puller);
    if (news.length === 0) return { fresh: [], conflicts: [], duplicate: true };
    const refused = this.#authenticate(batch);
    if (refused !== undefined) return refusal(refused);
    if (news.some(({ piece, hash }) => this.#isOneTooMany(piece, hash))) {
      return refusal('tooManyHashes');
    }

    this.#batches.push(Buffer.from(batchBytes));
    const fresh: PieceHash[] = [];
    const conflicts: number[] = [];
    for (const { piece, hash } of news) {
      const outcome = this.#claim(piece, hash, puller);
      if (outcome === 'fresh') fresh.push({ piece, hash });
      if (outcome === 'conflict') conflicts.push(piece);
    }
    return { fresh, conflicts, duplicate: false };
  }

  /** What the batch says that is not known; a second puller's word counts only in a dispute. */
  #newsIn(batch: DecodedBatch, puller: string): { piece: number; hash: Buffer }[] {
    const said = batch.hashes.map((hash, index) => ({ piece: batch.first + index, hash }));
    return said.filter(({ piece, hash }) => {
      if (this.#hashes[piece]?.equals(hash) === true) return false;
      return this.#claims[piece]?.get(hash.toString('hex'))?.has(puller) !== true;
    });
  }

  #authenticate(batch: DecodedBatch): FeedRefusal | undefined {
    const { extents } = batch.certificate;
    if (!batch.hashes.every((_, index) => covers(extents, batch.first + index))) {
      return 'notCertified';
    }
    const pullerKey = this.#certifiedKey(batch);
    if (pullerKey === undefined) return 'badCertificate';
    return signatureHolds(batch.message, batch.signature, pullerKey) ? undefined : 'badSignature';
  }

  /** A puller sends the same certificate with every batch of a grant: each is verified once. */
  #certifiedKey({ certificate }: DecodedBatch): KeyObject | undefined {
    const name = digest('sha256', Buffer.concat([certificate.certified, certificate.signature]));
    const cached = this.#certificates.get(name);
    if (cached !== undefined) return cached;
    if (!certificateHolds(certificate, this.#options.swarmId, this.#feedKey)) return undefined;
    const key = publicKeyOf(certificate.pullerKey);
    const oldest = this.#certificates.keys().next().value;
    if (this.#certificates.size >= MAX_CACHED_CERTIFICATES && oldest !== undefined) {
      this.#certificates.delete(oldest);
    }
    this.#certificates.set(name, key);
    return key;
  }

  #isOneTooMany(piece: number, hash: Buffer): boolean {
    const claims = this.#claims[piece];
    if (claims === undefined) return false;
    const signers = claims.get(hash.toString('hex'));
    return (signers?.size ?? claims.size) >= MAX_HASHES_PER_PIECE;
  }

  #claim(piece: number, hash: Buffer, puller: string): 'fresh' | 'conflict' | 'unsettled' {
    this.#claims[piece] ??= new Map();
    const claims = this.#claims[piece];
    const hex = hash.toString('hex');
    const signers = claims.get(hex) ?? new Set();
    claims.set(hex, signers.add(puller));

    const before = this.#hashes[piece];
    const after = this.#settle(piece);
    if (after !== undefined) return before?.equals(after) === true ? 'unsettled' : 'fresh';
    return before === undefined ? 'unsettled' : 'conflict';
  }

  /** The piece's hash by what stands for it now. */
  #settle(piece: number): Buffer | undefined {
    const claims: Claims = this.#claims[piece] ?? new Map();
    const before = this.#hashes[piece];
    if (claims.size > 1) this.#disputed.add(piece);
    else this.#disputed.delete(piece);
    const [best, second] = [...claims.entries()].sort(([, a], [, b]) => b.size - a.size);
    const settled = best !== undefined && best[1].size > (second?.[1].size ?? 0);
    const after = settled ? Buffer.from(best[0], 'hex') : undefined;
    this.#hashes[piece] = after;
    this.#known += Number(after !== undefined) - Number(before !== undefined);
    return after;
  }
}

function refusal(refused: FeedRefusal): FeedAcceptance {
  return { fresh: [], conflicts: [], duplicate: false, refused };
}
