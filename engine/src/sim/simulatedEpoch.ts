import { randomBytes } from 'node:crypto';
import { BatchVerifier } from '../feed/batchJudge.ts';
import { certify } from '../feed/certificate.ts';
import { FeedSigner } from '../feed/feedSigner.ts';
import { type FeedKeyPair, generateFeedKeyPair } from '../feed/keys.ts';
import { swarmIdOf } from '../feed/swarmId.ts';
import type { OriginFile } from '../session/originAnswer.ts';
import { SharedJudge } from './sharedJudge.ts';
import { type LeaseTerms, SimulatedLeases } from './simulatedOrigin.ts';
import type { TrueFile } from './trueFile.ts';

export const ORIGIN = 'origin';

export interface EpochOptions {
  readonly number: number;
  readonly file: TrueFile;
  readonly leases: Omit<LeaseTerms, 'pieceLengthBytes' | 'pieceCount'>;
}

/** One version of a world's file: what the control server knows and decides of it. */
export class SimulatedEpoch {
  readonly number: number;
  readonly file: TrueFile;
  readonly secret = randomBytes(32);
  readonly swarmId: Buffer;
  readonly feedKey: Buffer;
  readonly judge: SharedJudge;
  readonly leases: SimulatedLeases;
  readonly #keys: FeedKeyPair = generateFeedKeyPair();
  readonly #revoked: Buffer[] = [];

  constructor({ number, file, leases }: EpochOptions) {
    const { layout } = file;
    const { pieceLengthBytes, pieceCount } = layout;
    this.number = number;
    this.file = file;
    this.feedKey = this.#keys.publicKey;
    this.swarmId = swarmIdOf(layout, { uid: 'sim', epoch: number, feedKey: this.feedKey });
    this.judge = new SharedJudge(
      new BatchVerifier({ swarmId: this.swarmId, feedKey: this.feedKey }),
    );
    this.leases = new SimulatedLeases({ ...leases, pieceLengthBytes, pieceCount });
  }

  get etag(): string {
    return `"${this.number}"`;
  }

  /** As a puller is told them. */
  originFiles(): OriginFile[] {
    return this.file.layout.files.map(({ path, sizeBytes }) => ({
      url: `http://${ORIGIN}/${path}`,
      sizeBytes,
      validator: { etag: this.etag },
    }));
  }

  /** Pullers (raw keys) that were found to be wrong; whoever begins later is told them, too. */
  get revoked(): readonly Buffer[] {
    return this.#revoked;
  }

  revoke(pullerKey: Buffer): void {
    this.#revoked.push(pullerKey);
  }

  /** Of a puller that may sign everything. */
  signer(keyPair: FeedKeyPair = generateFeedKeyPair()): FeedSigner {
    const whole = [{ first: 0, count: this.file.layout.pieceCount }];
    const certificate = certify(this.#keys, this.swarmId, keyPair.publicKey, whole);
    return new FeedSigner({ swarmId: this.swarmId, keyPair, certificate });
  }

  /** What a puller that has pulled everything said of it. */
  wholeFeed(): Buffer[] {
    const pieces = Array.from({ length: this.file.layout.pieceCount }, (_, piece) => piece);
    return this.signer().sign(pieces.map((piece) => ({ piece, hash: this.file.trueHash(piece) })));
  }
}
