/** An agent at two replicas whose clocks differ: the real client, sessions and certificates. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { ControlClient } from '@sluice/protocol/client/controlClient.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from 'winston';
import { type AppDependencies, newApp, SERVER_OPTIONS } from './app.ts';
import { type Authority, bundleOf } from './authority.ts';
import { makeAuthority, makeServerCertificate } from './certificates.ts';
import { FleetView } from './fleetView.ts';
import { SESSION_SECONDS } from './sessions.ts';

const NEVER = new AbortController().signal;
const TEN_MINUTES_MS = 600_000;
const AGENT = { pod: 'agent-a', podUid: 'uid', node: 'node-a', address: '127.0.0.1' };
const sessionKey = Buffer.alloc(32, 1);

let folder: string;
let bought: string[];
let servers: Server[];
let client: ControlClient | undefined;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'sluice-clocks-'));
  await writeFile(path.join(folder, 'token'), 'token');
  bought = [];
  servers = [];
});
afterEach(async () => {
  client?.close();
  for (const server of servers) await end(server);
  await rm(folder, { recursive: true });
});

/** A replica whose clock is so far ahead, and with a certificate that it has made by that clock. */
async function replica(
  name: string,
  { authority, aheadMs, port = 0 }: { authority: Authority; aheadMs: number; port?: number },
) {
  const wallClock = () => Date.now() + aheadMs;
  const fleet = new FleetView({ changed: () => {}, reported: () => {}, ended: () => {} });
  const identify = async () => {
    bought.push(name);
    return { ...AGENT, domain: undefined };
  };
  const app = newApp({
    coordinator: { fleet },
    callers: { identify },
    logger: createLogger({ silent: true }),
    sessionKey: () => sessionKey,
    isLeader: () => true,
    leaderUrl: () => undefined,
    leaderAnswers: () => true,
    renewalSeenMs: () => undefined,
    clock: systemClock,
    wallClock,
  } as unknown as AppDependencies);
  const { key, certificate } = await makeServerCertificate(['localhost'], authority, wallClock());
  const server = createServer({ key, cert: certificate, ...SERVER_OPTIONS }, app);
  servers.push(server);
  await once(server.listen(port, '127.0.0.1'), 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

async function end(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeAllConnections();
  await closed;
}

/** An agent at a leader whose clock, by which it made the CA, is so far ahead. */
async function agentAt(aheadMs: number) {
  const authority = await makeAuthority(Date.now() + aheadMs);
  const caFile = path.join(folder, 'ca.crt');
  await writeFile(caFile, bundleOf({ current: authority, next: undefined, previous: undefined }));
  const first = await replica('first', { authority, aheadMs });
  const url = new URL(`https://localhost:${first.port}`);
  const tokenFile = path.join(folder, 'token');
  client = new ControlClient(
    { controlUrl: url, caFile, tokenFile, kind: 'agent', bitTorrentPort: 6881 },
    { clock: systemClock, onProblem: () => {} },
  );
  const goOnAt = async (nextAheadMs: number) => {
    await end(first.server);
    servers = [];
    await replica('next', { authority, aheadMs: nextAheadMs, port: first.port });
  };
  return { client, goOnAt };
}

it.each([
  { clocks: 'right, then ten minutes ahead', first: 0, next: TEN_MINUTES_MS },
  { clocks: 'right, then ten minutes behind', first: 0, next: -TEN_MINUTES_MS },
  { clocks: 'ten minutes ahead, then right', first: TEN_MINUTES_MS, next: 0 },
  { clocks: 'ten minutes behind, then right', first: -TEN_MINUTES_MS, next: 0 },
])('an agent goes on with its session when leaders have clocks that are $clocks', async (ahead) => {
  const { client, goOnAt } = await agentAt(ahead.first);
  await client.report({ transfers: [] }, NEVER);
  await goOnAt(ahead.next);
  await client.report({ transfers: [] }, NEVER);
  expect(bought).toEqual(['first']);
});

it('an agent buys another session where its own has ended by the clock of the next leader', async () => {
  const { client, goOnAt } = await agentAt(0);
  await client.report({ transfers: [] }, NEVER);
  await goOnAt(SESSION_SECONDS * 1000 + 1);
  await client.report({ transfers: [] }, NEVER);
  expect(bought).toEqual(['first', 'next']);
});
