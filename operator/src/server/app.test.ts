import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import type { Report } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { FakeClock } from '../testing/fakeClock.ts';
import { type AppDependencies, newApp, SERVER_OPTIONS } from './app.ts';
import type { WorkStream } from './fleetView.ts';
import { ApiRefusal } from './refusal.ts';
import { issueSession, SESSION_SECONDS, type Session } from './sessions.ts';

const logger = createLogger({ silent: true });
let server: http.Server;
let servers: http.Server[];
let clock: FakeClock;
let identify: AppDependencies['callers']['identify'];
/** Of the work stream that was opened last. */
let opened: WorkStream | undefined;
let nextLeaderUrl: string | undefined;
let heard: Report[];
let hear: (report: Report) => void;
const fleet = {
  connected: () => [],
  meet: () => ({}),
  open: (_session: Session, stream: WorkStream) => {
    opened = stream;
    return {};
  },
  closed: () => {},
  report: (_process: object, report: Report) => hear(report),
};
const sessionKey = Buffer.alloc(32);

beforeEach(async () => {
  clock = new FakeClock();
  heard = [];
  nextLeaderUrl = undefined;
  hear = (report) => void heard.push(report);
  servers = [];
  server = await replica(() => 0);
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  for (const each of servers) {
    each.closeAllConnections();
    await new Promise((resolve) => each.close(resolve));
  }
});

/** All have the same key of sessions. */
async function replica(wallClock: () => number): Promise<http.Server> {
  const app = newApp({
    coordinator: { fleet },
    callers: { identify: (...of: Parameters<typeof identify>) => identify(...of) },
    logger,
    sessionKey: () => sessionKey,
    isLeader: () => true,
    leaderUrl: () => undefined,
    nextLeaderUrl: () => nextLeaderUrl,
    leaderAnswers: () => true,
    renewalSeenMs: () => undefined,
    clock,
    wallClock,
  } as unknown as AppDependencies);
  const made = http.createServer(SERVER_OPTIONS, app);
  servers.push(made);
  await once(made.listen(0, '127.0.0.1'), 'listening');
  return made;
}

const agent: Session = {
  id: 'uid.one-of-it',
  kind: 'agent',
  node: 'node-a',
  domain: undefined,
  host: '127.0.0.1',
  bitTorrentPort: 6881,
  httpPort: undefined,
  pod: 'agent-a',
  podUid: 'uid',
  protocolVersion: 2,
  expiresAtMs: 1,
};

/** A request whose body does not end. */
function beginToSay(path: string, token = 'token'): http.ClientRequest {
  const { port } = server.address() as AddressInfo;
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const request = http.request({ host: '127.0.0.1', port, method: 'POST', path, headers });
  request.write(path === '/v1/work' ? '\n' : '{');
  return request;
}

function askForSession(at = server): http.ClientRequest {
  const { port } = at.address() as AddressInfo;
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

describe('a session of a replica', () => {
  const LIFE_MS = SESSION_SECONDS * 1000;
  const TEN_MINUTES_MS = 600_000;
  let nowMs: number;
  beforeEach(() => {
    nowMs = 0;
    identify = async () => ({ ...agent, address: agent.host });
  });

  async function answerOf(request: http.ClientRequest) {
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += chunk;
    return { status: response.statusCode, body: JSON.parse(text) };
  }

  async function buyAt(at: http.Server): Promise<string> {
    const { body } = await answerOf(askForSession(at));
    return body.sessionToken;
  }

  function reportTo(at: http.Server, token: string) {
    const { port } = at.address() as AddressInfo;
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const path = '/v1/reports';
    const request = http.request({ host: '127.0.0.1', port, method: 'POST', path, headers });
    request.end(JSON.stringify({ incarnation: 'one-of-it', sequence: 1, transfers: [] }));
    return answerOf(request);
  }

  it.each([
    { clocks: 'ahead', aheadMs: TEN_MINUTES_MS },
    { clocks: 'behind', aheadMs: -TEN_MINUTES_MS },
  ])(
    'is good at another, whose clock is ten minutes $clocks, until it ends there; then another is',
    async ({ aheadMs }) => {
      const [one, other] = [await replica(() => nowMs), await replica(() => nowMs + aheadMs)];
      const token = await buyAt(one);
      nowMs = LIFE_MS - aheadMs - 1;
      expect((await reportTo(other, token)).status).toBe(200);
      nowMs += 1;
      expect(await reportTo(other, token)).toEqual({
        status: 401,
        body: { code: 'Unauthenticated', message: 'the session is not known or has ended' },
      });
      expect((await reportTo(other, await buyAt(other))).status).toBe(200);
    },
  );
});

describe('a work stream', () => {
  /** With what comes down by it. */
  async function openStream() {
    const request = beginToSay('/v1/work', issueSession(agent, sessionKey));
    request.on('error', () => {});
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const say = (sequence: number) => {
      const report = { incarnation: 'one-of-it', sequence, transfers: [] };
      request.write(`${JSON.stringify(report)}\n`);
    };
    const lines = () => text.split('\n').filter(Boolean);
    return { response, say, messages: () => lines().map((each) => JSON.parse(each)) };
  }

  it('says again and again that this one lives, and who would lead next', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const { messages } = await openStream();
    for (const named of [undefined, 'https://10.0.0.2:8443', undefined]) {
      nextLeaderUrl = named;
      vi.advanceTimersByTime(6_000);
      const heartbeat = { type: 'heartbeat', ...(named && { nextLeader: named }) };
      await expect.poll(() => messages().at(-1)).toEqual(heartbeat);
    }
  });

  it('that is ended here leaves no connection, though its request goes on; nothing is heard by it', async () => {
    const { port } = server.address() as AddressInfo;
    // Otherwise that would end it some seconds later.
    server.keepAliveTimeout = 0;
    // One that does not hang up by itself, as of a process that has hung.
    const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    const token = issueSession(agent, sessionKey);
    const head = ['POST /v1/work HTTP/1.1', 'Host: x', `Authorization: Bearer ${token}`];
    socket.write(`${[...head, 'Transfer-Encoding: chunked'].join('\r\n')}\r\n\r\n`);
    const say = (sequence: number) => {
      const report = { incarnation: 'one-of-it', sequence, transfers: [] };
      const line = `${JSON.stringify(report)}\n`;
      socket.write(`${line.length.toString(16)}\r\n${line}\r\n`);
    };
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const ended = once(socket, 'end');
    say(1);
    await expect.poll(() => text).toContain('"reported","sequence":1');
    opened?.close();
    say(2);
    await ended;
    socket.destroy();
    expect(heard.map(({ sequence }) => sequence)).toEqual([1]);
  });

  it('by which something comes that cannot be dealt with is told so and ended; the others go on', async () => {
    hear = () => {
      throw new Error('trouble');
    };
    const { response, say, messages } = await openStream();
    const ended = once(response, 'end');
    say(1);
    await ended;
    expect(messages()).toEqual([{ type: 'reportRefused', message: 'not now; ask again' }]);
    hear = () => {};
    const other = await openStream();
    other.say(2);
    await expect.poll(other.messages).toMatchObject([{ type: 'reported', sequence: 2 }]);
  });
});
