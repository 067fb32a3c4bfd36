import type { KeyObject } from 'node:crypto';
import { batchMessage, encodeBatch, MAX_HASHES_PER_BATCH, type PieceHash } from './batch.ts';
import { covers, type PullerCertificate } from './certificate.ts';
import { type FeedKeyPair, privateKeyOf, signBytes } from './keys.ts';

export interface FeedSignerOptions {
  readonly swarmId: Uint8Array;
  /** This puller's own pair, made at process start; only its public half is sent anywhere. */
  readonly keyPair: FeedKeyPair;
  readonly certificate: PullerCertificate;
}

/**
 * Pieces that were asked for under a grant are hashed and signed after later ones have come: a
 * quarter of a second and a slow disk later, while a lease of small pieces may be renewed each few
 * milliseconds. A piece whose certificate is gone would never be named to anybody.
 */
const KEPT_CERTIFICATES = 256;

/** Signs the hashes of what this process pulled from the origin. Knows nothing of time. */
export class FeedSigner {
  readonly #swarmId: Uint8Array;
  readonly #privateKey: KeyObject;
  readonly #pullerKey: string;
  /** Newest first. */
  #certificates: readonly PullerCertificate[];

  constructor(options: FeedSignerOptions) {
    this.#swarmId = options.swarmId;
    this.#privateKey = privateKeyOf(options.keyPair);
    this.#pullerKey = options.keyPair.publicKey.toString('base64');
    this.#certificates = [];
    this.adopt(options.certificate);
  }

  /** A renewed grant came with a certificate for other extents; the earlier ones stay usable. */
  adopt(certificate: PullerCertificate): void {
    if (certificate.pullerKey !== this.#pullerKey) {
      throw new FeedSignerError('ForeignCertificate', 'the certificate names another puller key');
    }
    this.#certificates = [certificate, ...this.#certificates].slice(0, KEPT_CERTIFICATES);
  }

  /** Whether a hash of this piece can be signed. */
  maySign(piece: number): boolean {
    return this.#certificateFor(piece) !== undefined;
  }

  /** Signed batches, one for each certificate that is needed. Throws for a piece of no certificate. */
  sign(pieces: readonly PieceHash[]): Buffer[] {
    const batches: Buffer[] = [];
    let due = [...pieces].sort((a, b) => a.piece - b.piece);
    for (let first = due[0]; first !== undefined; first = due[0]) {
      const certificate = this.#certificateFor(first.piece);
      if (certificate === undefined) {
        throw new FeedSignerError('NotCertified', `no certificate covers piece ${first.piece}`);
      }
      const covered = due.filter(({ piece }) => covers(certificate.extents, piece));
      const hashes = covered.slice(0, MAX_HASHES_PER_BATCH);
      const message = batchMessage(this.#swarmId, hashes);
      batches.push(encodeBatch(certificate, message, signBytes(message, this.#privateKey)));
      const signed = new Set(hashes);
      due = due.filter((each) => !signed.has(each));
    }
    return batches;
  }

  #certificateFor(piece: number): PullerCertificate | undefined {
    return this.#certificates.find(({ extents }) => covers(extents, piece));
  }
}

/** Signs under these from the beginning; there is one at least. */
export function signerUnder(
  owner: Omit<FeedSignerOptions, 'certificate'>,
  [certificate, ...more]: readonly PullerCertificate[],
): FeedSigner {
  if (certificate === undefined) {
    throw new FeedSignerError('NotCertified', 'there is no certificate to sign under');
  }
  const signer = new FeedSigner({ ...owner, certificate });
  for (const each of more) signer.adopt(each);
  return signer;
}

export class FeedSignerError extends Error {
  readonly code: 'ForeignCertificate' | 'NotCertified';

  constructor(code: FeedSignerError['code'], message: string) {
    super(message);
    this.name = 'FeedSignerError';
    this.code = code;
  }
}
