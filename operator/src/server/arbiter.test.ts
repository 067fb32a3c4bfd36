import { randomBytes } from 'node:crypto';
import { MAX_BATCH_BYTES } from '@sluice/engine/feed/batch.ts';
import { certify } from '@sluice/engine/feed/certificate.ts';
import { FeedSigner } from '@sluice/engine/feed/feedSigner.ts';
import { type FeedKeyPair, generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { PieceDispute, Task } from '@sluice/protocol/messages.ts';
import { parseReport } from '@sluice/protocol/validate.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { Arbiter } from './arbiter.ts';
import { taskFor } from './work.ts';

const swarmId = randomBytes(20);
const feedKeys = generateFeedKeyPair();
const TRUTH = Buffer.alloc(32, 1);
const LIE = Buffer.alloc(32, 2);

const task = taskFor(
  aPlanOf(
    aRecord({
      files: [{ path: 'file.bin', sizeBytes: 8 * 262_144 }],
      swarmId: swarmId.toString('hex'),
      feedPublicKey: feedKeys.publicKey.toString('base64'),
    }),
  ),
  'relay',
  undefined,
);

let clock: FakeClock;
let asked: number[];
let revoked: string[];
let failures: number;
let arbiter: Arbiter;

beforeEach(() => {
  clock = new FakeClock();
  asked = [];
  revoked = [];
  failures = 0;
  arbiter = new Arbiter({
    clock,
    logger: createLogger({ silent: true }),
    ask: async (_task: Task, piece) => {
      asked.push(piece);
      if (failures > 0) {
        failures -= 1;
        throw new Error('the limits leave no room');
      }
      return TRUTH.toString('hex');
    },
    revoke: async (_task, pullerKeys) => {
      revoked.push(...pullerKeys);
    },
  });
});

/** A batch of this piece, by a puller that is certified for it. */
function batchOf(puller: FeedKeyPair, piece: number, hash: Buffer, by = feedKeys): string {
  const certificate = certify(by, swarmId, puller.publicKey, [{ first: piece, count: 1 }]);
  const signer = new FeedSigner({ swarmId, keyPair: puller, certificate });
  return (signer.sign([{ piece, hash }])[0] as Buffer).toString('base64');
}

const keyOf = ({ publicKey }: FeedKeyPair) => publicKey.toString('base64');

describe('what pullers disagree about', () => {
  const honest = generateFeedKeyPair();
  const liar = generateFeedKeyPair();

  function disputeOf(piece: number): PieceDispute {
    return { piece, batches: [batchOf(honest, piece, TRUTH), batchOf(liar, piece, LIE)] };
  }

  it('is asked of the origin, and who was wrong is revoked', async () => {
    arbiter.consider(task, [disputeOf(5)]);
    await settle();
    expect(asked).toEqual([5]);
    expect(revoked).toEqual([keyOf(liar)]);
  });

  it('is asked for once, however many say so, and not when its liar is known', async () => {
    arbiter.consider(task, [disputeOf(5), disputeOf(6)]);
    arbiter.consider(task, [disputeOf(5)]);
    await settle();
    expect(asked).toEqual([5]);
    arbiter.consider({ ...task, revokedPullers: [keyOf(liar)] }, [disputeOf(7)]);
    await settle();
    expect(asked).toEqual([5]);
  });

  it.each<[string, () => string]>([
    ['was not certified by the distribution', () => batchOf(liar, 5, LIE, generateFeedKeyPair())],
    ['has no signature that holds', () => batchOf(liar, 5, LIE).replace(/.{8}$/, 'AAAAAAA=')],
    ['is of another piece', () => batchOf(liar, 4, LIE)],
    ['is nothing at all', () => Buffer.from('noise').toString('base64')],
  ])('is not believed where the evidence against a puller %s', async (_case, forged) => {
    arbiter.consider(task, [{ piece: 5, batches: [batchOf(honest, 5, TRUTH), forged()] }]);
    await settle();
    expect(asked).toEqual([]);
    expect(revoked).toEqual([]);
  });

  it('stays open where the origin gives no ranges', async () => {
    const source = { url: 'http://origin/file.bin', headers: {}, files: [], ranges: false };
    arbiter.consider({ ...task, source }, [disputeOf(5)]);
    await settle();
    expect(asked).toEqual([]);
  });

  it('waits while the origin cannot be asked, and ends with the epoch', async () => {
    failures = 2;
    arbiter.consider(task, [disputeOf(5)]);
    await clock.advance(10_000);
    expect(asked).toEqual([5, 5, 5]);
    expect(revoked).toEqual([keyOf(liar)]);
    failures = 100;
    arbiter.consider({ ...task, uid: 'other' }, [disputeOf(5)]);
    await settle();
    arbiter.forget('other');
    const before = asked.length;
    await clock.advance(600_000);
    expect(asked).toHaveLength(before);
  });
});

it('a report takes the longest batch of the feed as evidence of a dispute', () => {
  const batch = Buffer.alloc(MAX_BATCH_BYTES).toString('base64');
  const transfer = {
    uid: 'a',
    epoch: 1,
    state: 'transferring',
    verifiedPieces: 0,
    verifiedBytes: 0,
    received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    uploadedBytes: 0,
    rateBytesPerSecond: 0,
    disputes: [{ piece: 0, batches: [batch, batch] }],
  };
  const report = { incarnation: '12345678', sequence: 1, transfers: [transfer] };
  expect(() => parseReport(report)).not.toThrow();
});
