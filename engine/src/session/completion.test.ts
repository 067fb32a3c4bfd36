/** A transfer that has every piece, and ends or learns better before its version is in its place. */
import { createHash, randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { certify } from '../feed/certificate.ts';
import { FeedSigner } from '../feed/feedSigner.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import { EngineHost } from './host.ts';

const swarmId = randomBytes(20);
const distribution = generateFeedKeyPair();
const puller = generateFeedKeyPair();
const hash = createHash('sha256').update('what the puller read').digest();

/** With the one piece there and named, and its version being put in its place. */
async function completing() {
  const extents = [{ first: 0, count: 1 }];
  const certificate = certify(distribution, swarmId, puller.publicKey, extents);
  const signer = new FeedSigner({ swarmId, keyPair: puller, certificate });
  const began = Promise.withResolvers<AbortSignal>();
  const placed = Promise.withResolvers<void>();
  const store: Partial<PieceStore> = {
    open: async () => ({
      verified: new Map([[0, hash]]),
      proven: new Map(),
      feed: signer.sign([{ piece: 0, hash }]),
    }),
    hasEarlier: () => false,
    complete: (signal) => {
      began.resolve(signal);
      return placed.promise;
    },
    close: async () => {},
  };
  const host = new EngineHost({ port: 0, role: 'agent' });
  const transfer = host.addTransfer({
    swarmId: swarmId.toString('hex'),
    role: 'agent',
    layout: layoutOf([{ path: 'file', sizeBytes: 262_144 }], 262_144),
    store: store as PieceStore,
    feedKey: distribution.publicKey,
    swarmSecret: Buffer.alloc(32),
  });
  let isCompleted = false;
  void transfer.completed.then(() => {
    isCompleted = true;
  });
  await transfer.start();
  const signal = await began.promise;
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  /** As it ends: whether it was completed. */
  const end = async () => {
    placed.resolve();
    await settle();
    return isCompleted;
  };
  return { transfer, signal, end };
}

it('is completed when the store has done it', async () => {
  const { transfer, end } = await completing();
  expect(await end()).toBe(true);
  expect(transfer.progress().state).toBe('ready');
  await transfer.stop();
});

it('tells the store to place nothing when what a piece is has been revoked, and is not completed', async () => {
  const { transfer, signal, end } = await completing();
  transfer.revoke([puller.publicKey]);
  await expect(transfer.failed).rejects.toMatchObject({ code: 'PieceRevoked' });
  expect(signal.aborted).toBe(true);
  expect(await end()).toBe(false);
  expect(transfer.progress().state).toBe('failed');
  await transfer.stop();
});

it('tells it so when it is stopped, and is not completed', async () => {
  const { transfer, signal, end } = await completing();
  await transfer.stop();
  expect(signal.aborted).toBe(true);
  expect(await end()).toBe(false);
});
