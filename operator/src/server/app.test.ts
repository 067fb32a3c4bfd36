import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { FakeClock } from '../testing/fakeClock.ts';
import { type AppDependencies, newApp, SERVER_OPTIONS } from './app.ts';
import { ApiRefusal } from './refusal.ts';

const logger = createLogger({ silent: true });
let server: http.Server;
let clock: FakeClock;
let identify: AppDependencies['callers']['identify'];

beforeEach(async () => {
  clock = new FakeClock();
  const app = newApp({
    coordinator: { fleet: { connected: () => [] } },
    callers: { identify: (...of: Parameters<typeof identify>) => identify(...of) },
    logger,
    sessionKey: () => Buffer.alloc(32),
    isLeader: () => true,
    leaderUrl: () => undefined,
    clock,
    wallClock: () => 0,
  } as unknown as AppDependencies);
  server = http.createServer(SERVER_OPTIONS, app);
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  vi.restoreAllMocks();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** A request whose body does not end. */
function beginToSay(path: string): http.ClientRequest {
  const { port } = server.address() as AddressInfo;
  const headers = { authorization: 'Bearer token', 'content-type': 'application/json' };
  const request = http.request({ host: '127.0.0.1', port, method: 'POST', path, headers });
  request.write('{');
  return request;
}

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

it('a body that does not end is waited for a minute', async () => {
  const arrived = once(server, 'request');
  const request = beginToSay('/v1/session');
  const broken = once(request, 'error');
  await arrived;
  await clock.advance(59_000);
  expect(request.destroyed).toBe(false);
  await clock.advance(2_000);
  await broken;
});

it('whoever is refused in the middle of what it says has no connection any more', async () => {
  const request = beginToSay('/v1/work');
  request.on('error', () => {});
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  response.resume();
  expect([response.statusCode, response.headers.connection]).toEqual([401, 'close']);
  await once(request, 'close');
});
