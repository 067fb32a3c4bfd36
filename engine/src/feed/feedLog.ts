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
  /** The first piece in quarantine since this batch: two pullers signed different hashes of it. */
  readonly conflict?: number;
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
 * that disagree thereby put it into quarantine, until a third one's signature settles it.
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

  /** Signed batches from this index on, to send to a peer that has those before. */
  batches(fromIndex = 0): readonly Uint8Array[] {
    return this.#batches.slice(fromIndex);
  }

  accept(batchBytes: Uint8Array): FeedAcceptance {
    const batch = decodeBatch(batchBytes);
    if (batch === undefined) return refusal('malformed');
    const puller = batch.certificate.pullerKey.toString('hex');
    if (!batch.swarmId.equals(this.#options.swarmId)) return refusal('wrongSwarm');
    if (batch.first + batch.hashes.length > this.#options.pieceCount) return refusal('outOfRange');

    const news = this.#newsIn(batch, puller);
    if (news.length === 0) return { fresh: [], duplicate: true };
    const refused = this.#authenticate(batch);
    if (refused !== undefined) return refusal(refused);
    if (news.some(({ piece, hash }) => this.#isOneTooMany(piece, hash))) {
      return refusal('tooManyHashes');
    }

    this.#batches.push(Buffer.from(batchBytes));
    const fresh: PieceHash[] = [];
    let conflict: number | undefined;
    for (const { piece, hash } of news) {
      const outcome = this.#claim(piece, hash, puller);
      if (outcome === 'fresh') fresh.push({ piece, hash });
      if (outcome === 'conflict') conflict ??= piece;
    }
    return { fresh, duplicate: false, ...(conflict === undefined ? {} : { conflict }) };
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
    const [best, second] = [...claims.entries()].sort(([, a], [, b]) => b.size - a.size);
    const settled = best !== undefined && best[1].size > (second?.[1].size ?? 0);
    const after = settled ? Buffer.from(best[0], 'hex') : undefined;
    this.#hashes[piece] = after;
    this.#known += Number(after !== undefined) - Number(before !== undefined);
    if (after !== undefined) return before?.equals(after) === true ? 'unsettled' : 'fresh';
    return before === undefined ? 'unsettled' : 'conflict';
  }
}

function refusal(refused: FeedRefusal): FeedAcceptance {
  return { fresh: [], duplicate: false, refused };
}
