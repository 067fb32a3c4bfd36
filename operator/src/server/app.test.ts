import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { FakeClock } from '../testing/fakeClock.ts';
import { type AppDependencies, newApp } from './app.ts';
import { ApiRefusal } from './refusal.ts';

const logger = createLogger({ silent: true });
let server: http.Server;
let identify: AppDependencies['callers']['identify'];

beforeEach(async () => {
  const app = newApp({
    coordinator: { fleet: { connected: () => [] } },
    callers: { identify: (...of: Parameters<typeof identify>) => identify(...of) },
    logger,
    sessionKey: () => Buffer.alloc(32),
    isLeader: () => true,
    leaderUrl: () => undefined,
    clock: new FakeClock(),
    wallClock: () => 0,
  } as unknown as AppDependencies);
  server = http.createServer(app);
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  vi.restoreAllMocks();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function askForSession(): http.ClientRequest {
  const { port } = server.address() as AddressInfo;
  const headers = { authorization: 'Bearer token', 'content-type': 'application/json' };
  const path = '/v1/session';
  const request = http.request({ host: '127.0.0.1', port, method: 'POST', path, headers });
  const ports = { bitTorrentPort: 6881 };
  request.end(
    JSON.stringify({ protocolVersions: [1], kind: 'agent', incarnation: 'one-of-it', ...ports }),
  );
  return request;
}

it('nobody is asked about who has gone away meanwhile', async () => {
  const warned = vi.spyOn(logger, 'warn');
  const { promise: asked, resolve } = Promise.withResolvers<AbortSignal>();
  identify = (_token, _kind, signal) => {
    resolve(signal);
    return new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason));
    });
  };
  const request = askForSession();
  request.on('error', () => {});
  const signal = await asked;
  expect(signal.aborted).toBe(false);
  request.destroy();
  await expect.poll(() => signal.aborted).toBe(true);
  await new Promise(setImmediate);
  expect(warned).not.toHaveBeenCalled();
});

it('whoever is one too many hears when to come again', async () => {
  identify = () => Promise.reject(new ApiRefusal(503, 'Busy', 'too many', 7));
  const [response] = (await once(askForSession(), 'response')) as [http.IncomingMessage];
  response.resume();
  expect([response.statusCode, response.headers['retry-after']]).toEqual([503, '7']);
});
