import type { FeedSigner } from '../feed/feedSigner.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import { NewsPace } from '../swarm/newsPace.ts';

export interface FeedPublisherDependencies {
  readonly clock: Clock;
  /** Pieces of the whole file that nobody has signed yet. */
  readonly unnamedPieces: () => number;
  /** Signed batches, and the pieces that they name. */
  readonly publish: (batches: readonly Uint8Array[], pieces: readonly number[]) => void;
}

/** Each batch is sent to, verified and kept by every node; a piece waits half of it on average. */
const INTERVAL_MS = 250;

/** Signs the hashes of what was pulled here, or was here already, when a certificate covers them. */
export class FeedPublisher {
  readonly #dependencies: FeedPublisherDependencies;
  /** Of a puller. */
  #signer: FeedSigner | undefined;
  /** For what is here without a pull. */
  #heldSigner: FeedSigner | undefined;
  readonly #unsigned = new Map<number, Uint8Array>();
  readonly #pace = new NewsPace(INTERVAL_MS);
  #timer: Timer | undefined;

  constructor(dependencies: FeedPublisherDependencies) {
    this.#dependencies = dependencies;
  }

  /** Whether this process pulls extents: only those who do have a signer. */
  get isSigning(): boolean {
    return this.#signer !== undefined;
  }

  /** Undefined: it pulls no more; what is due is signed before. */
  setSigner(signer: FeedSigner | undefined): void {
    if (signer === undefined) this.stop();
    this.#signer = signer;
    this.signSoon();
  }

  /** Who signs what it has already is no puller by that. */
  setHeldSigner(signer: FeedSigner): void {
    this.#heldSigner = signer;
    this.signSoon();
  }

  add(piece: number, hash: Uint8Array): void {
    this.#unsigned.set(piece, hash);
    this.signSoon();
  }

  /** Whether it is about to be signed: what nobody here may sign is no word of ours. */
  has(piece: number): boolean {
    if (!this.#unsigned.has(piece)) return false;
    return this.#signers().some((signer) => signer.maySign(piece));
  }

  /** Whether it was pulled here, or was here already, and was not signed yet, whoever may do that. */
  awaitsSignature(piece: number): boolean {
    return this.#unsigned.has(piece);
  }

  /** Somebody else has signed the same, or it is not here any more. */
  drop(piece: number): void {
    this.#unsigned.delete(piece);
  }

  signSoon(): void {
    if (this.#unsigned.size === 0 || this.#timer !== undefined) return;
    if (this.#signer === undefined && this.#heldSigner === undefined) return;
    const { clock, unnamedPieces } = this.#dependencies;
    const waitMs = this.#pace.waitMs(unnamedPieces(), clock.now());
    if (waitMs <= 0) this.#sign();
    else this.#timer = clock.setTimer(waitMs, () => this.#sign());
  }

  /** Signs what is due. */
  stop(): void {
    this.#timer?.cancel();
    this.#sign();
  }

  #sign(): void {
    this.#timer = undefined;
    for (const signer of this.#signers()) this.#signWith(signer);
  }

  #signers(): FeedSigner[] {
    return [this.#signer, this.#heldSigner].filter((signer) => signer !== undefined);
  }

  #signWith(signer: FeedSigner): void {
    const due = [...this.#unsigned]
      .filter(([piece]) => signer.maySign(piece))
      .map(([piece, hash]) => ({ piece, hash }));
    if (due.length === 0) return;
    for (const { piece } of due) this.#unsigned.delete(piece);
    const { clock, publish } = this.#dependencies;
    this.#pace.told(clock.now());
    publish(
      signer.sign(due),
      due.map(({ piece }) => piece),
    );
  }
}
