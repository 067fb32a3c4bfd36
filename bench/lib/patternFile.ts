/** A file that nobody has to keep: every piece is one block of bytes with the piece's number in it. */
import { createHash, randomBytes } from 'node:crypto';
import { certify } from '@sluice/engine/feed/certificate.ts';
import { FeedSigner } from '@sluice/engine/feed/feedSigner.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { leafCountOf, pieceHash } from '@sluice/engine/feed/pieceHash.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { type Layout, layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { PieceStore, PutResult, StoredState } from '@sluice/engine/ports/pieceStore.ts';

/** Everything that processes have to know of the file; crosses from one to another as it is. */
export interface PatternDistribution {
  readonly uid: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Of one piece. */
  readonly pattern: Uint8Array;
  readonly swarmId: string;
  readonly swarmSecret: Uint8Array;
  readonly feedKey: Uint8Array;
  readonly hashes: readonly Uint8Array[];
  readonly batches: readonly Uint8Array[];
}

/** Of whole pieces. */
export function makeDistribution(pieces: number, pieceLengthBytes: number): PatternDistribution {
  const uid = 'pattern';
  const file = { path: 'file.bin', sizeBytes: pieces * pieceLengthBytes };
  const layout = layoutOf([file], pieceLengthBytes);
  const pattern = randomBytes(pieceLengthBytes);
  const digest = createHash('sha256');
  const hashes = Array.from({ length: pieces }, (_, piece) => {
    const bytes = pieceOf(pattern, piece);
    digest.update(bytes);
    const sizes = { sizeBytes: pieceLengthBytes, pieceLengthBytes, fileSizeBytes: file.sizeBytes };
    return pieceHash(bytes, leafCountOf(sizes));
  });
  const keys = generateFeedKeyPair();
  const keyPair = generateFeedKeyPair();
  const swarmId = swarmIdOf(layout, { uid, epoch: 1, feedKey: keys.publicKey });
  const extents = [{ first: 0, count: pieces }];
  const certificate = certify(keys, swarmId, keyPair.publicKey, extents);
  const signer = new FeedSigner({ swarmId, keyPair, certificate });
  return {
    uid,
    ...file,
    sha256: digest.digest('hex'),
    pattern,
    swarmId: swarmId.toString('hex'),
    swarmSecret: randomBytes(32),
    feedKey: keys.publicKey,
    hashes,
    batches: signer.sign(hashes.map((hash, piece) => ({ piece, hash }))),
  };
}

export function layoutOfPattern({ path, sizeBytes, pattern }: PatternDistribution): Layout {
  return layoutOf([{ path, sizeBytes }], pattern.byteLength);
}

/** Holds all pieces but those that it lacks at first; keeps no bytes. */
export class PatternStore implements PieceStore {
  readonly #distribution: PatternDistribution;
  readonly #lacks: (piece: number) => boolean;

  constructor(distribution: PatternDistribution, lacks: (piece: number) => boolean) {
    this.#distribution = distribution;
    this.#lacks = lacks;
  }

  async open(): Promise<StoredState> {
    const { hashes, batches } = this.#distribution;
    const verified = new Map([...hashes.entries()].filter(([piece]) => !this.#lacks(piece)));
    return { verified, proven: new Map(), feed: batches };
  }

  keepFeed(): void {}

  async put(piece: number, bytes: Uint8Array): Promise<PutResult> {
    const { pattern, hashes } = this.#distribution;
    const stored = Buffer.compare(bytes, pieceOf(pattern, piece)) === 0;
    return { stored, hash: stored ? (hashes[piece] as Uint8Array) : new Uint8Array(32) };
  }

  hasEarlier(): boolean {
    return false;
  }

  copy(): Promise<PutResult> {
    throw new Error('there is no earlier version');
  }

  async read(piece: number, offset: number, length: number, into?: Uint8Array) {
    const bytes = partOf(this.#distribution.pattern, piece, offset, length);
    into?.set(bytes);
    return into ?? bytes;
  }

  async complete(): Promise<void> {}

  async close(): Promise<void> {}
}

function pieceOf(pattern: Uint8Array, piece: number): Uint8Array {
  return partOf(pattern, piece, 0, pattern.byteLength);
}

function partOf(pattern: Uint8Array, piece: number, offset: number, length: number): Uint8Array {
  const part = pattern.subarray(offset, offset + length);
  if (offset > 0) return part;
  const first = Buffer.from(part);
  first.writeUInt32BE(piece, 0);
  return first;
}
