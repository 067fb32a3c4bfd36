import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBatch, MAX_BATCH_BYTES, MAX_HASHES_PER_BATCH, type PieceHash } from './batch.ts';
import { certify, type Extent, MAX_EXTENTS } from './certificate.ts';
import { FeedLog } from './feedLog.ts';
import { FeedSigner } from './feedSigner.ts';
import { type FeedKeyPair, generateFeedKeyPair } from './keys.ts';

const swarmId = randomBytes(20);
const distribution = generateFeedKeyPair();
const PIECES = 3000;

interface SignerSetUp {
  extents?: Extent[];
  by?: FeedKeyPair;
  swarm?: Buffer;
  keyPair?: FeedKeyPair;
}

function signerOf(setUp: SignerSetUp = {}): FeedSigner {
  const keyPair = setUp.keyPair ?? generateFeedKeyPair();
  const extents = setUp.extents ?? [{ first: 0, count: PIECES }];
  const id = setUp.swarm ?? swarmId;
  const certificate = certify(setUp.by ?? distribution, id, keyPair.publicKey, extents);
  return new FeedSigner({ swarmId: id, keyPair, certificate });
}

function logOf(): FeedLog {
  return new FeedLog({ swarmId, feedKey: distribution.publicKey, pieceCount: PIECES });
}

function hashOf(piece: number, variant = ''): Buffer {
  return createHash('sha256').update(`${piece}${variant}`).digest();
}

function said(pieces: number[], variant = ''): PieceHash[] {
  return pieces.map((piece) => ({ piece, hash: hashOf(piece, variant) }));
}

function oneBatch(signer: FeedSigner, pieces: number[], variant = ''): Buffer {
  const [batch, ...more] = signer.sign(said(pieces, variant));
  expect(more).toHaveLength(0);
  return batch as Buffer;
}

describe('the feed', () => {
  it('names a piece that is signed a hundred renewals after its grant', () => {
    const keyPair = generateFeedKeyPair();
    const signer = signerOf({ keyPair, extents: [{ first: 0, count: 2 }] });
    for (let first = 1; first <= 100; first += 1) {
      const extents = [{ first, count: 2 }];
      signer.adopt(certify(distribution, swarmId, keyPair.publicKey, extents));
    }
    expect(logOf().accept(oneBatch(signer, [0])).fresh).toHaveLength(1);
  });

  it('carries hashes of any pieces in any order to whoever knows the distribution key', () => {
    const pieces = fc.uniqueArray(fc.nat(PIECES - 1), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(pieces, (numbers) => {
        const log = logOf();
        const batches = signerOf().sign(said(numbers));
        const fresh = batches.flatMap((batch) => log.accept(batch).fresh);
        expect(fresh.map(({ piece }) => piece).sort()).toEqual([...numbers].sort());
        for (const piece of numbers) expect(log.hashOf(piece)).toEqual(hashOf(piece));
        expect(log.knownPieces).toBe(numbers.length);
        const late = logOf();
        for (const batch of log.batches()) late.accept(batch);
        expect(late.knownPieces).toBe(numbers.length);
      }),
      { numRuns: 30 },
    );
  });

  it('drops what it knows, also when another puller says it, and keeps no copy', () => {
    const log = logOf();
    const batch = oneBatch(signerOf(), [4, 5]);
    log.accept(batch);
    expect(log.accept(batch)).toEqual({ fresh: [], conflicts: [], duplicate: true });
    expect(log.accept(oneBatch(signerOf(), [5])).duplicate).toBe(true);
    expect(log.length).toBe(1);
  });

  it('takes the new part of a batch that is partly known', () => {
    const log = logOf();
    log.accept(oneBatch(signerOf(), [4, 5]));
    const { fresh } = log.accept(oneBatch(signerOf(), [5, 6]));
    expect(fresh.map(({ piece }) => piece)).toEqual([6]);
    expect(log.batches(1)).toHaveLength(1);
  });

  it('puts a piece with two hashes into quarantine until a third puller settles it', () => {
    const log = logOf();
    log.accept(oneBatch(signerOf(), [6, 7]));
    const second = log.accept(oneBatch(signerOf(), [7], 'other'));
    expect(second).toEqual({ fresh: [], duplicate: false, conflicts: [7] });
    expect(log.hashOf(7)).toBeUndefined();
    expect(log.quarantined(7)).toBe(true);
    expect(log.quarantined(6)).toBe(false);
    const third = log.accept(oneBatch(signerOf(), [7], 'other'));
    expect(third.fresh.map(({ piece }) => piece)).toEqual([7]);
    expect(log.hashOf(7)).toEqual(hashOf(7, 'other'));
    expect(log.knownPieces).toBe(2);
  });

  it('does not let one puller outvote another by repeating itself', () => {
    const log = logOf();
    log.accept(oneBatch(signerOf(), [7]));
    const stubborn = signerOf();
    log.accept(oneBatch(stubborn, [7], 'other'));
    expect(log.accept(oneBatch(stubborn, [7], 'other')).duplicate).toBe(true);
    expect(log.quarantined(7)).toBe(true);
  });

  it('takes back what a revoked puller has signed, and hears no more of it', () => {
    const log = logOf();
    const [liarKeys, honestKeys] = [generateFeedKeyPair(), generateFeedKeyPair()];
    const [liar, honest] = [liarKeys, honestKeys].map((keyPair) => signerOf({ keyPair }));
    if (liar === undefined || honest === undefined) throw new Error('no signers');
    log.accept(oneBatch(liar, [4, 5, 6], 'wrong'));
    log.accept(oneBatch(honest, [5]));
    log.accept(oneBatch(honest, [9]));
    expect([...log.disputed]).toEqual([5]);
    expect(log.evidenceOf(5)).toHaveLength(2);
    expect(log.revoke([liarKeys.publicKey])).toEqual([4, 5, 6]);
    expect(log.revoke([liarKeys.publicKey])).toEqual([]);
    expect([4, 5, 6, 9].map((piece) => log.hashOf(piece))).toEqual([
      undefined,
      hashOf(5),
      undefined,
      hashOf(9),
    ]);
    expect(log.knownPieces).toBe(2);
    // Nobody has signed anything of these: they are unknown, not in quarantine.
    expect([4, 5, 6].some((piece) => log.quarantined(piece))).toBe(false);
    expect(log.disputed.size).toBe(0);
    expect(log.accept(oneBatch(liar, [7], 'wrong'))).toMatchObject({ fresh: [], duplicate: true });
    expect(log.accept(oneBatch(honest, [4])).fresh.map(({ piece }) => piece)).toEqual([4]);
  });

  it('counts the word of a puller that was revoked before it spoke as nothing', () => {
    const log = logOf();
    const keyPair = generateFeedKeyPair();
    log.revoke([keyPair.publicKey]);
    log.accept(oneBatch(signerOf({ keyPair }), [3]));
    expect(log.hashOf(3)).toBeUndefined();
    expect(log.length).toBe(0);
  });

  it('hears no more of a piece from a puller that signs noise, and blames nobody who passes it on', () => {
    const log = logOf();
    const noisy = signerOf();
    const answers = ['a', 'b', 'c', 'd', 'e', 'f'].map((variant) =>
      log.accept(oneBatch(noisy, [1], variant)),
    );
    expect(answers.map(({ refused }) => refused)).toEqual(Array(6).fill(undefined));
    expect(answers.map(({ duplicate }) => duplicate)).toEqual([
      false,
      false,
      ...Array(4).fill(true),
    ]);
    expect(log.length).toBe(2);
    expect(log.accept(oneBatch(noisy, [1, 2], 'g')).fresh.map(({ piece }) => piece)).toEqual([2]);
    expect(log.evidenceOf(1)).toHaveLength(2);
  });

  it('is settled by the others, and by the batches of them that speak of more, where one signs noise', () => {
    const log = logOf();
    const noisy = signerOf();
    for (const variant of ['a', 'b', 'c', 'd']) log.accept(oneBatch(noisy, [1], variant));
    const first = log.accept(oneBatch(signerOf(), [0, 1, 2]));
    expect(first).toMatchObject({ fresh: [{ piece: 0 }, { piece: 2 }], duplicate: false });
    expect(log.quarantined(1)).toBe(true);
    expect(log.accept(oneBatch(signerOf(), [1])).fresh.map(({ piece }) => piece)).toEqual([1]);
    expect(log.hashOf(1)).toEqual(hashOf(1));
    expect(log.evidenceOf(1)).toHaveLength(4);
  });

  it('keeps no more of one piece than a report can show, whoever signs it', () => {
    const log = logOf();
    for (let puller = 0; puller < 12; puller += 1) {
      const signer = signerOf();
      for (const variant of [`a${puller}`, `b${puller}`]) {
        log.accept(oneBatch(signer, [1], variant));
      }
    }
    expect(log.evidenceOf(1)).toHaveLength(16);
    expect(log.length).toBe(16);
  });

  it.each([
    ['another swarm', signerOf({ swarm: randomBytes(20) }), 'wrongSwarm'],
    ['a puller that nobody certified', signerOf({ by: generateFeedKeyPair() }), 'badCertificate'],
    ['pieces that do not exist', signerOf({ extents: [{ first: 2999, count: 2 }] }), 'outOfRange'],
  ])('refuses %s', (_, signer, reason) => {
    const log = logOf();
    const pieces = reason === 'outOfRange' ? [2999, 3000] : [1];
    expect(log.accept(oneBatch(signer, pieces)).refused).toBe(reason);
    expect(log.length).toBe(0);
  });

  it('refuses a signature over pieces outside the extents', () => {
    const keyPair = generateFeedKeyPair();
    const wide = oneBatch(signerOf({ keyPair }), [9, 10]);
    const narrow = oneBatch(signerOf({ keyPair, extents: [{ first: 9, count: 1 }] }), [9]);
    const certificateBytes = 32 + 2 + 8 + 64;
    const grafted = Buffer.concat([
      narrow.subarray(0, 1 + certificateBytes),
      wide.subarray(1 + certificateBytes),
    ]);
    expect(logOf().accept(wide).refused).toBeUndefined();
    expect(logOf().accept(grafted).refused).toBe('notCertified');
  });

  it('believes nothing of a batch that was changed anywhere, and never throws', () => {
    const batch = oneBatch(signerOf(), [3, 4, 5]);
    fc.assert(
      fc.property(fc.nat(batch.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(batch);
        changed.writeUInt8(changed.readUInt8(at) ^ flip, at);
        const log = logOf();
        expect(log.accept(changed).refused).toBeDefined();
        expect(log.knownPieces).toBe(0);
      }),
      { numRuns: 400 },
    );
  });

  it('refuses cut, padded and random bytes', () => {
    const batch = oneBatch(signerOf(), [3, 4, 5]);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.nat(batch.length - 1).map((end) => batch.subarray(0, end)),
          fc
            .uint8Array({ minLength: 1, maxLength: 64 })
            .map((tail) => Buffer.concat([batch, tail])),
          fc.uint8Array({ maxLength: 4000 }).map((noise) => Buffer.concat([Buffer.of(0), noise])),
          fc.uint8Array({ maxLength: 4000 }).map((noise) => Buffer.concat([Buffer.of(2), noise])),
        ),
        (bytes) => {
          expect(logOf().accept(bytes).refused).toBe('malformed');
        },
      ),
    );
  });

  it('tells a batch of a newer release by its version, and takes nothing of it', () => {
    const batch = oneBatch(signerOf(), [3, 4, 5]);
    batch[0] = (batch[0] as number) + 1;
    const log = logOf();
    expect(log.accept(batch)).toMatchObject({ refused: 'newer', fresh: [] });
    expect(log.length).toBe(0);
  });

  it('refuses a batch whose pieces do not ascend', () => {
    const batch = oneBatch(signerOf(), [7, 9]);
    const [first, second] = [7, 9].map((piece) => batch.lastIndexOf(hashOf(piece)) - 4);
    batch.writeUInt32BE(9, first);
    batch.writeUInt32BE(7, second);
    expect(logOf().accept(batch).refused).toBe('malformed');
    batch.writeUInt32BE(7, first);
    expect(logOf().accept(batch).refused).toBe('malformed');
  });

  it('signs pieces that lie apart in one batch', () => {
    expect(oneBatch(signerOf(), [5, 900, 6, 40]).length).toBeLessThan(400);
  });

  it('splits what is too much for one, and its longest batch is within the bound', () => {
    const extents = Array.from({ length: MAX_EXTENTS }, (_, index) => ({
      first: index * 10,
      count: index === 0 ? PIECES : 10,
    }));
    const batches = signerOf({ extents }).sign(said([...Array(2500).keys()]));
    expect(batches.map((batch) => decodeBatch(batch)?.hashes.length)).toEqual([
      MAX_HASHES_PER_BATCH,
      MAX_HASHES_PER_BATCH,
      2500 - 2 * MAX_HASHES_PER_BATCH,
    ]);
    expect(Math.max(...batches.map((batch) => batch.length))).toBeLessThanOrEqual(MAX_BATCH_BYTES);
  });

  it('signs what was pulled under an earlier grant after a renewal', () => {
    const keyPair = generateFeedKeyPair();
    const signer = signerOf({ keyPair, extents: [{ first: 0, count: 10 }] });
    expect(signer.maySign(12)).toBe(false);
    expect(() => signer.sign(said([12]))).toThrow(/piece 12/);
    const later = [{ first: 10, count: 10 }];
    signer.adopt(certify(distribution, swarmId, keyPair.publicKey, later));
    const log = logOf();
    for (const batch of signer.sign(said([8, 9, 10, 11]))) log.accept(batch);
    expect(log.knownPieces).toBe(4);
    const foreign = certify(distribution, swarmId, generateFeedKeyPair().publicKey, later);
    expect(() => signer.adopt(foreign)).toThrow(/another puller key/);
  });
});
