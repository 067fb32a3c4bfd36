import { randomBytes } from 'node:crypto';
import { NodeHttpSource } from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { createPuller } from '@sluice/engine/session/originPuller.ts';
import type { PieceAssembly } from '@sluice/engine/session/pullPlan.ts';
import type { LeaseAsk } from '@sluice/protocol/client/leaseClient.ts';
import { LeaseLoop } from '@sluice/protocol/client/leaseLoop.ts';
import type { LeaseRequest } from '@sluice/protocol/messages.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MeteredOrigin } from '../testing/adapters/meteredOrigin.ts';
import { systemLeases } from '../testing/adapters/systemLeases.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { hostOf } from './coverage.ts';
import type { JournalDocument } from './entries.ts';
import { MongoJournalStore } from './journalStore.ts';
import type { LeaseService } from './leaseService.ts';
import { apply, emptyLedger, usageOf } from './ledger.ts';

const PIECE = 262_144;
const PIECES = 256;
const BODY = randomBytes(PIECES * PIECE);
const LIMITS = {
  maxConnections: 6,
  maxBandwidthBytesPerSecond: 20_000_000,
  maxTraffic: { bytes: 2 * BODY.length, periodSeconds: 86_400 },
};

let database: TestDatabase;
let store: MongoJournalStore;
let origin: MeteredOrigin;
let url: string;
let service: LeaseService;
const relays = new Map<string, LeaseLoop>();
const verified = new Set<number>();

beforeAll(async () => {
  database = await startTestDatabase();
});

afterAll(() => database.stop());

beforeEach(async () => {
  await database.database.dropDatabase();
  store = new MongoJournalStore(database.database);
  await store.prepare();
  origin = new MeteredOrigin(BODY, 20);
  url = await origin.start();
  relays.clear();
  verified.clear();
  service = newService();
  service.lead(1);
});

afterEach(async () => {
  service.stepDown();
  await origin.stop();
});

const keys = generateFeedKeyPair();

function newService(): LeaseService {
  const made = systemLeases(
    {
      defaultLimits: { maxConnections: 1, maxBandwidthBytesPerSecond: 100_000 },
      requireOrigin: true,
    },
    store,
  );
  made.onAsk((holder) => relays.get(holder)?.askNow());
  made.setOrigins([
    {
      name: 'cdn',
      hosts: [hostOf(url)],
      limits: LIMITS,
      closeAfterSeconds: 120,
      allowPrivateAddresses: true,
      allowAgentCredentials: false,
    },
  ]);
  made.setDistribution({
    uid: 'a',
    epoch: 1,
    swarmId: '0'.repeat(40),
    url,
    priority: 0,
    suspend: false,
    files: [{ path: 'file.bin', sizeBytes: BODY.length }],
    pieceLengthBytes: PIECE,
    pieceCount: PIECES,
    ranges: true,
    topUpBytes: undefined,
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
    revokedPullers: [],
  });
  return made;
}

/**
 * Pulls as a relay does; what another relay has verified comes from there. `tell`: what becomes of
 * what it would say.
 */
async function pull(
  id: string,
  pieces: number[],
  signal: AbortSignal,
  tell = (ask: LeaseAsk) => ask,
): Promise<void> {
  let sequence = 0;
  const layout = {
    pieceSizeBytes: () => PIECE,
    locate: (piece: number) => ({ fileIndex: 0, offset: piece * PIECE }),
  };
  const taken = new Set<number>();
  const target = {
    holds: (piece: number) => verified.has(piece),
    assemble: (piece: number): PieceAssembly | undefined => {
      if (verified.has(piece) || taken.has(piece)) return undefined;
      taken.add(piece);
      const bytes = Buffer.alloc(PIECE);
      return {
        piece,
        sizeBytes: PIECE,
        missing: () => [{ offset: 0, length: PIECE }],
        write: (offset, chunk) => bytes.set(chunk, offset),
        finish: async () => {
          taken.delete(piece);
          if (!bytes.equals(BODY.subarray(piece * PIECE, (piece + 1) * PIECE))) return 'mismatch';
          verified.add(piece);
          pieces.push(piece);
          return 'verified';
        },
        abort: () => taken.delete(piece),
      };
    },
  };
  const source = {
    files: [{ url, sizeBytes: BODY.length, validator: { etag: '"one"' } }],
    headers: {},
    ranges: true,
    pieceLengthBytes: PIECE,
  };
  const loop = new LeaseLoop(
    {
      uid: 'a',
      epoch: 1,
      pieceLengthBytes: PIECE,
      pullerKey: generateFeedKeyPair().publicKey.toString('base64'),
    },
    {
      client: {
        lease: async (ask) => {
          sequence += 1;
          const requestedAtMs = systemClock.now();
          const request = {
            ...tell(ask),
            incarnation: id.padEnd(8, '-'),
            sequence,
          } as LeaseRequest;
          const answer = await service.answer({ id, kind: 'relay' }, request);
          return { answer, requestedAtMs, sequence: request.sequence };
        },
      },
      clock: systemClock,
      wantedRateBytesPerSecond: () => 1_250_000_000,
      want: () => ({ rateBytesPerSecond: 1_250_000_000, connections: 8 }),
      createPuller: (grant, requestedAtMs) =>
        createPuller(grant, requestedAtMs, source, {
          http: new NodeHttpSource(),
          clock: systemClock,
          layout,
          target,
        }),
      certified: () => {},
      complete: () => verified.size === PIECES,
      onFailure: (error) => {
        if (error !== undefined) throw new Error(error.message);
      },
      onProblem: () => {},
    },
  );
  relays.set(id, loop);
  await loop.run(signal);
}

describe('two relays at one origin', () => {
  it('take each byte once, together, use the limit and exceed it in no second', async () => {
    const { signal } = new AbortController();
    const pulled = { one: [] as number[], two: [] as number[] };
    const startMs = performance.now();
    await Promise.all([pull('one', pulled.one, signal), pull('two', pulled.two, signal)]);
    expect(origin.meter.totalBytes / BODY.length).toBeLessThan(1.02);
    expect([...pulled.one, ...pulled.two]).toHaveLength(PIECES);
    // Both have a good part of it.
    expect(Math.min(pulled.one.length, pulled.two.length)).toBeGreaterThan(PIECES / 4);
    const limit = LIMITS.maxBandwidthBytesPerSecond;
    expect(origin.meter.largestWindow(1000)).toBeLessThanOrEqual(limit);
    expect(origin.meter.mostConnections).toBeLessThanOrEqual(LIMITS.maxConnections);
    // 0.95 on a machine that has nothing else to do.
    const steady = origin.meter.bytesBetween(startMs + 500, startMs + 2500) / 2 / limit;
    expect(steady).toBeGreaterThan(0.75);
    expect(service.usage('cdn')).toMatchObject({
      connections: 0,
      rateBytesPerSecond: 0,
      trafficBytes: origin.meter.totalBytes,
      disagreements: [],
    });
    expect(service.originBytes('a')).toBe(origin.meter.totalBytes);
    const documents: JournalDocument[] = [];
    for await (const document of store.after(hostOf(url), 0, signal)) documents.push(document);
    // Renewals come as extents run short, not all the time.
    expect(documents.length).toBeLessThan(150);
    const ledger = documents.flatMap(({ entries }) => entries).reduce(apply, emptyLedger);
    expect(usageOf(ledger)).toMatchObject({
      connections: 0,
      trafficBytes: origin.meter.totalBytes,
    });
  });

  it('are charged what their meters prove when they say less, and shown', async () => {
    const tell = (ask: LeaseAsk): LeaseAsk =>
      ask.op === 'settle' ? { ...ask, usedBytes: Math.floor(ask.usedBytes / 2) } : ask;
    await pull('one', [], new AbortController().signal, tell);
    expect(service.originBytes('a')).toBe(origin.meter.totalBytes);
    expect(service.usage('cdn')?.disagreements).toMatchObject([
      { holder: 'one', reason: 'UseUnderstated' },
    ]);
  });
});
