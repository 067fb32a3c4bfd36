import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeHttpSource } from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { createPuller } from '@sluice/engine/session/originPuller.ts';
import type { PieceAssembly } from '@sluice/engine/session/pullPlan.ts';
import { ControlError } from '@sluice/protocol/client/controlError.ts';
import { type LeaseAsk, LeaseClient } from '@sluice/protocol/client/leaseClient.ts';
import { LeaseLoop } from '@sluice/protocol/client/leaseLoop.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MeteredOrigin } from '../testing/adapters/meteredOrigin.ts';
import { systemLeases } from '../testing/adapters/systemLeases.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { hostOf } from './coverage.ts';
import type { JournalDocument } from './entries.ts';
import { MongoJournalStore } from './journalStore.ts';
import type { LeaseService } from './leaseService.ts';
import { apply, emptyLedger, type Ledger, usageOf } from './ledger.ts';

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
/** When relays were told of a grant. */
const grantedAtMs: number[] = [];

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
  grantedAtMs.length = 0;
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

/** Of the client of the control API. */
const REQUEST_TIMEOUT_MS = 5_000;

/** One attempt over a network that loses nothing. */
async function post(id: string, request: LeaseRequest): Promise<LeaseAnswer> {
  const over = new AbortController();
  const late = sleep(REQUEST_TIMEOUT_MS, undefined, over).then(() => {
    throw new ControlError('TimedOut', `no answer within ${REQUEST_TIMEOUT_MS} ms`);
  });
  try {
    const answer = await Promise.race([service.answer({ id, kind: 'relay' }, request), late]);
    if (answer.outcome === 'granted') grantedAtMs.push(performance.now());
    return answer;
  } finally {
    over.abort();
    late.catch(() => {});
  }
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
  const client = new LeaseClient(id.padEnd(8, '-'), {
    clock: systemClock,
    random: Math.random,
    nextSequence: () => {
      sequence += 1;
      return sequence;
    },
    post: (request) => post(id, request),
  });
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
      client: { lease: (ask, ...rest) => client.lease(tell(ask), ...rest) },
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

/** All that the journal of the origin says. */
async function foldedJournal(): Promise<{ documents: JournalDocument[]; ledger: Ledger }> {
  const documents: JournalDocument[] = [];
  const { signal } = new AbortController();
  for await (const document of store.after(hostOf(url), 0, signal)) documents.push(document);
  return {
    documents,
    ledger: documents.flatMap(({ entries }) => entries).reduce(apply, emptyLedger),
  };
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
    const { documents, ledger } = await foldedJournal();
    // Renewals come as extents run short, not all the time.
    expect(documents.length).toBeLessThan(150);
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

describe('two relays whose control server has lost its database', () => {
  /** Longer than a lease lives. */
  const AWAY_MS = 12_000;

  it.each([
    { how: 'killed', takeAway: () => database.crash(), giveBack: () => database.restart() },
    { how: 'frozen', takeAway: () => database.freeze(), giveBack: () => database.goOn() },
  ])(
    'that was $how take what they have leased and no more, and go on when it is back',
    async ({ takeAway, giveBack }) => {
      const { signal } = new AbortController();
      const pulled = { one: [] as number[], two: [] as number[], third: [] as number[] };
      const pulls = [pull('one', pulled.one, signal), pull('two', pulled.two, signal)];
      const piecesHeld = () => verified.size;
      await expect.poll(piecesHeld, { timeout: 10_000 }).toBeGreaterThan(PIECES / 4);

      await takeAway();
      const awayAtMs = performance.now();
      const takenBytes = origin.meter.totalBytes;
      const leasedBytes = service.usage('cdn')?.chargedBytes ?? 0;
      pulls.push(pull('third', pulled.third, signal));
      await sleep(AWAY_MS);
      expect(origin.meter.totalBytes, 'under leases from before').toBeGreaterThan(takenBytes);
      expect(origin.meter.totalBytes).toBeLessThanOrEqual(leasedBytes);
      // An answer may have been under way.
      expect(Math.max(...grantedAtMs), 'the last grant').toBeLessThan(awayAtMs + 100);
      expect(pulled.third).toEqual([]);

      await giveBack();
      await Promise.all(pulls);
      expect(verified.size).toBe(PIECES);
      const { mostConnections, totalBytes } = origin.meter;
      expect(origin.meter.largestWindow(1000)).toBeLessThanOrEqual(
        LIMITS.maxBandwidthBytesPerSecond,
      );
      expect(mostConnections).toBeLessThanOrEqual(LIMITS.maxConnections);
      const { connections, trafficBytes } = usageOf((await foldedJournal()).ledger);
      expect(connections).toBe(0);
      expect(trafficBytes).toBeGreaterThanOrEqual(totalBytes);
      expect(trafficBytes).toBeLessThanOrEqual(LIMITS.maxTraffic.bytes);
    },
    60_000,
  );
});
