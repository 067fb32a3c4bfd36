import { hash as digest, type KeyObject } from 'node:crypto';
import { type DecodedBatch, decodeBatch } from './batch.ts';
import { certificateHolds, covers } from './certificate.ts';
import { publicKeyOf, signatureHolds } from './keys.ts';

export type BatchFault =
  /** Names pieces outside the puller's extents. */
  'notCertified' | 'badCertificate' | 'badSignature';

/** Reads batches and says whether they are genuine. */
export interface BatchJudge {
  /** Undefined for anything but exactly one batch within its bounds. */
  decode(bytes: Uint8Array): DecodedBatch | undefined;
  /** Undefined: it is what a certified puller of this swarm signed. */
  faultOf(batch: DecodedBatch): BatchFault | undefined;
}

export interface BatchVerifierOptions {
  readonly swarmId: Uint8Array;
  /** Raw Ed25519 public key of the distribution. */
  readonly feedKey: Uint8Array;
}

/** Renewed grants bring new certificates; those of the busiest pullers stay cached. */
const MAX_CACHED_CERTIFICATES = 1024;

/** Checks certificates and signatures. */
export class BatchVerifier implements BatchJudge {
  readonly #swarmId: Uint8Array;
  readonly #feedKey: KeyObject;
  readonly #certificates = new Map<string, KeyObject>();

  constructor({ swarmId, feedKey }: BatchVerifierOptions) {
    this.#swarmId = swarmId;
    this.#feedKey = publicKeyOf(feedKey);
  }

  decode(bytes: Uint8Array): DecodedBatch | undefined {
    return decodeBatch(bytes);
  }

  faultOf(batch: DecodedBatch): BatchFault | undefined {
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
    if (!certificateHolds(certificate, this.#swarmId, this.#feedKey)) return undefined;
    const key = publicKeyOf(certificate.pullerKey);
    const oldest = this.#certificates.keys().next().value;
    if (this.#certificates.size >= MAX_CACHED_CERTIFICATES && oldest !== undefined) {
      this.#certificates.delete(oldest);
    }
    this.#certificates.set(name, key);
    return key;
  }
}
