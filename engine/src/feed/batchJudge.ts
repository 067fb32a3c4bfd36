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
const MAX_CACHED = 1024;

/** Checks certificates and signatures. */
export class BatchVerifier implements BatchJudge {
  readonly #swarmId: Uint8Array;
  readonly #feedKey: KeyObject;
  readonly #certificates = new Map<string, KeyObject>();
  /** By puller: a key outlives its certificates, and to read one costs as much as to verify. */
  readonly #keys = new Map<string, KeyObject>();

  constructor({ swarmId, feedKey }: BatchVerifierOptions) {
    this.#swarmId = swarmId;
    this.#feedKey = publicKeyOf(feedKey);
  }

  decode(bytes: Uint8Array): DecodedBatch | undefined {
    return decodeBatch(bytes);
  }

  faultOf(batch: DecodedBatch): BatchFault | undefined {
    const { extents } = batch.certificate;
    if (!batch.hashes.every(({ piece }) => covers(extents, piece))) return 'notCertified';
    const pullerKey = this.#certifiedKey(batch);
    if (pullerKey === undefined) return 'badCertificate';
    return signatureHolds(batch.message, batch.signature, pullerKey) ? undefined : 'badSignature';
  }

  /** A puller sends the same certificate with every batch of a grant: each is verified once. */
  #certifiedKey({ certificate }: DecodedBatch): KeyObject | undefined {
    const name = digest('sha256', Buffer.concat([certificate.certified, certificate.signature]));
    const cached = this.#certificates.get(name);
    if (cached !== undefined) {
      keep(this.#certificates, name, cached);
      return cached;
    }
    if (!certificateHolds(certificate, this.#swarmId, this.#feedKey)) return undefined;
    const { puller, pullerKey } = certificate;
    const key = this.#keys.get(puller) ?? publicKeyOf(pullerKey);
    keep(this.#keys, puller, key);
    keep(this.#certificates, name, key);
    return key;
  }
}

/** As the newest of so many. */
function keep(cache: Map<string, KeyObject>, name: string, key: KeyObject): void {
  cache.delete(name);
  const oldest = cache.keys().next().value;
  if (cache.size >= MAX_CACHED && oldest !== undefined) cache.delete(oldest);
  cache.set(name, key);
}
