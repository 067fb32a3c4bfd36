/** From what a relay reports to what every process is told: with a real origin to ask. */
import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { certify } from '@sluice/engine/feed/certificate.ts';
import { FeedSigner } from '@sluice/engine/feed/feedSigner.ts';
import { type FeedKeyPair, generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { pieceHash } from '@sluice/engine/feed/pieceHash.ts';
import type { ProcessKind, Task, TransferReport, WorkMessage } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { LeaseService } from '../quota/leaseService.ts';
import { systemLeases } from '../testing/adapters/systemLeases.ts';
import { noRows } from '../testing/noRows.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { Coordinator } from './coordinator.ts';

const PIECE = 262_144;
const BODY = randomBytes(PIECE);
const swarmId = randomBytes(20);
const feedKeys = generateFeedKeyPair();

let server: Server;
let url: string;
let coordinator: Coordinator;
let leases: LeaseService;
let saved: unknown[];

beforeEach(async () => {
  server = createServer((request, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const part = BODY.subarray(Number(first), Number(last) + 1);
    const range = `bytes ${first}-${last}/${PIECE}`;
    response.writeHead(206, { 'content-length': part.length, 'content-range': range }).end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/file.bin`;
  saved = [];
  leases = systemLeases({
    defaultLimits: { maxConnections: 2, maxBandwidthBytesPerSecond: 10_000_000 },
    requireOrigin: false,
  });
  coordinator = new Coordinator({
    leases,
    assignments: noRows.assignments,
    revocations: { saveRevoked: async (...of) => void saved.push(of) },
    clock: systemClock,
    wallClock: Date.now,
    logger: createLogger({ silent: true }),
  });
  leases.lead(1);
  coordinator.start();
  coordinator.setOrigins([
    {
      name: 'loopback',
      hosts: ['127.0.0.1'],
      limits: {},
      closeAfterSeconds: 120,
      allowPrivateAddresses: true,
      allowAgentCredentials: false,
    },
  ]);
});

afterEach(async () => {
  coordinator.stop();
  leases.stepDown();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** Its open stream, and what it was told over it. */
function processOf(name: string, kind: ProcessKind) {
  const told: WorkMessage[] = [];
  const session = {
    id: name,
    kind,
    node: 'node-a',
    domain: kind === 'relay' ? 'zone-a' : undefined,
    host: '127.0.0.1',
    bitTorrentPort: 6881,
    httpPort: kind === 'relay' ? 8081 : undefined,
    pod: name,
    podUid: name,
    protocolVersion: 1,
    expiresAtMs: Number.POSITIVE_INFINITY,
  };
  const stream = { send: (message: WorkMessage) => void told.push(message), close: () => {} };
  const process = coordinator.fleet.open(session, stream, systemClock.now());
  const lastTask = (): Task | undefined => told.findLast((each) => each.type === 'task')?.task;
  return { process, lastTask };
}

function batchOf(puller: FeedKeyPair, hash: Buffer): string {
  const certificate = certify(feedKeys, swarmId, puller.publicKey, [{ first: 0, count: 1 }]);
  const signer = new FeedSigner({ swarmId, keyPair: puller, certificate });
  return (signer.sign([{ piece: 0, hash }])[0] as Buffer).toString('base64');
}

it('revokes the puller that signed what the origin does not give, and tells everybody', async () => {
  const record = aRecord({
    url,
    source: { sizeBytes: PIECE, validator: {}, ranges: true },
    files: [{ path: 'file.bin', sizeBytes: PIECE }],
    swarmId: swarmId.toString('hex'),
    feedPublicKey: feedKeys.publicKey.toString('base64'),
    feedSeed: feedKeys.seed.toString('base64'),
  });
  coordinator.apply(aPlanOf(record, { headers: {} }));
  coordinator.primed();
  const relay = processOf('relay', 'relay');
  const agent = processOf('agent', 'agent');
  await expect.poll(() => agent.lastTask()).toBeDefined();
  const liar = generateFeedKeyPair();
  const liarKey = liar.publicKey.toString('base64');
  const truth = batchOf(generateFeedKeyPair(), pieceHash(BODY, PIECE / 16_384));
  const transfer: TransferReport = {
    uid: record.uid,
    epoch: 1,
    state: 'transferring',
    verifiedPieces: 0,
    verifiedBytes: 0,
    received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    uploadedBytes: 0,
    rateBytesPerSecond: 0,
    bitfield: 'gA==',
    disputes: [{ piece: 0, batches: [batchOf(liar, Buffer.alloc(32, 9)), truth] }],
  };
  const report = { incarnation: 'relay-run', sequence: 1, transfers: [transfer] };
  coordinator.fleet.report(relay.process, report, systemClock.now());
  for (const { lastTask } of [relay, agent]) {
    await expect.poll(() => lastTask()?.revokedPullers, { timeout: 10_000 }).toEqual([liarKey]);
  }
  expect(saved).toEqual([[record.uid, 1, [liarKey]]]);

  // A new leader finds it in the record.
  coordinator.stop();
  coordinator.start();
  coordinator.apply(aPlanOf({ ...record, revokedPullers: [liarKey] }, { headers: {} }));
  coordinator.primed();
  const again = processOf('agent', 'agent');
  await expect.poll(() => again.lastTask()?.revokedPullers).toEqual([liarKey]);
});
