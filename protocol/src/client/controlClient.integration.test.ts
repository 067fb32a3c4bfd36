import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { UNREACHABLE_HEADER, type WorkMessage } from '../messages.ts';
import { ControlClient, type WorkEvent } from './controlClient.ts';
import { ControlError } from './controlError.ts';
import { makeCertificates, type TestCertificates } from './testing/certificates.ts';
import {
  type FakeControlHandlers,
  type FakeControlOptions,
  FakeControlServer,
} from './testing/fakeControlServer.ts';
import { processClock } from './testing/processClock.ts';

const NEVER = new AbortController().signal;
const ASK = {
  op: 'acquire',
  uid: 'u1',
  epoch: 1,
  wantRateBytesPerSecond: 1,
  wantConnections: 1,
  pullerKey: 'AAAA',
} as const;

let folder: string;
let first: TestCertificates;
let second: TestCertificates;
const stops: (() => unknown)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-client-'));
  [first, second] = await Promise.all([
    makeCertificates(folder, 'one'),
    makeCertificates(folder, 'two'),
  ]);
});
afterAll(() => rm(folder, { recursive: true, force: true }));
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function server(
  handlers: FakeControlHandlers = {},
  certificates = first,
  more: Partial<Omit<FakeControlOptions, 'cert' | 'key'>> = {},
) {
  const fake = new FakeControlServer({ ...certificates, ...more }, handlers);
  const url = await fake.start();
  stops.push(() => fake.stop());
  return { fake, url };
}

async function client(
  controlUrl: URL,
  files: { caFile?: string; tokenFile?: string; protocolVersions?: readonly number[] } = {},
) {
  const tokenFile = files.tokenFile ?? path.join(folder, 'token');
  if (files.tokenFile === undefined) await writeFile(tokenFile, 'node-a\n');
  const problems: Error[] = [];
  const made = new ControlClient(
    { controlUrl, caFile: first.caFile, tokenFile, kind: 'agent', bitTorrentPort: 6881, ...files },
    { clock: processClock, onProblem: (error) => problems.push(error) },
  );
  stops.push(() => made.close());
  return { client: made, problems };
}

/** Takes events until one of this type has come so often. */
async function eventsUntil(made: ControlClient, type: string, times: number): Promise<WorkEvent[]> {
  const abort = new AbortController();
  const events: WorkEvent[] = [];
  for await (const event of made.work(abort.signal)) {
    events.push(event);
    if (events.filter((each) => each.type === type).length >= times) abort.abort();
  }
  return events;
}

/** Opens its work stream and reads on; answers with how to end that. */
async function working(made: ControlClient): Promise<() => Promise<void>> {
  const abort = new AbortController();
  const synced = Promise.withResolvers<void>();
  const reading = (async () => {
    for await (const { type } of made.work(abort.signal)) if (type === 'synced') synced.resolve();
  })();
  const end = async () => {
    abort.abort();
    await reading;
  };
  stops.push(end);
  await synced.promise;
  return end;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error) => (error instanceof ControlError ? error.code : String(error)),
  );
}

describe('the control client', () => {
  it('looks for the next leader at a time of its own where there are thousands of agents', async () => {
    const { fake, url } = await server({}, first, { reportIntervalMs: 3_000 });
    const openedMs: number[] = [];
    const agents = Array.from({ length: 20 }, async () => {
      const { client: made } = await client(url);
      await eventsUntil(made, 'opened', 2);
      openedMs.push(performance.now());
    });
    await vi.waitFor(() => expect(fake.streams).toBe(20), { timeout: 5_000 });
    fake.dropStreams();
    await Promise.all(agents);
    const [firstMs = 0] = openedMs;
    expect((openedMs.at(-1) ?? 0) - firstMs).toBeGreaterThan(500);
  });

  it('hears everything that is so after each reconnect, over the same session', async () => {
    const message: WorkMessage = { type: 'askLease', uid: 'u1', epoch: 1 };
    const { fake, url } = await server({ work: () => [message] });
    const { client: made } = await client(url);
    const drop = setInterval(() => fake.dropStreams(), 300);
    stops.push(() => clearInterval(drop));
    const events = await eventsUntil(made, 'synced', 2);
    const round = ['opened', 'askLease', 'synced'];
    expect(events.map(({ type }) => type)).toEqual([...round, ...round]);
    expect(fake.requests.filter((each) => each.endsWith('/session'))).toHaveLength(1);
  });

  it('passes over a line that it does not understand and ends a stream with an endless one', async () => {
    const odd = { type: 'task', task: { uid: 'u1' } } as unknown as WorkMessage;
    const { fake, url } = await server({
      work: () => [odd, { type: 'heartbeat' }],
    });
    const { client: made, problems } = await client(url);
    const events = await eventsUntil(made, 'synced', 1);
    expect(events.map(({ type }) => type)).toEqual(['opened', 'heartbeat', 'synced']);
    expect(problems.map((error) => (error as ControlError).code)).toEqual(['InvalidAnswer']);
    expect(problems[0]?.message.length).toBeLessThan(400);

    fake.handlers = {
      intercept: (_request, response, at) => {
        if (at !== '/v1/work') return false;
        response.writeHead(200).write('x'.repeat(17 * 1024 * 1024));
        return true;
      },
    };
    problems.length = 0;
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 5_000);
    for await (const _ of made.work(abort.signal)) if (problems.length > 0) break;
    expect((problems[0] as ControlError).code).toBe('InvalidAnswer');
  });

  it('asks again with the same sequence when an answer is lost, and gets the first answer', async () => {
    let lost = 0;
    const { fake, url } = await server({
      lease: () => ({ outcome: 'wait', reason: 'NotReady', retryAfterMs: 10 + lost }),
    });
    const before = fake.handlers;
    const bodies: string[] = [];
    fake.handlers = {
      ...before,
      intercept: (request, response, at) => {
        if (at !== '/v1/leases' || lost >= 2) return false;
        lost += 1;
        request.on('data', (chunk) => bodies.push(String(chunk)));
        request.on('end', () => response.destroy());
        return true;
      },
    };
    const { client: made } = await client(url);
    const { answer } = await made.lease(ASK, 5_000, NEVER);
    expect(answer).toEqual({ outcome: 'wait', reason: 'NotReady', retryAfterMs: 12 });
    const sequences = [...bodies.map((body) => JSON.parse(body)), ...fake.leaseRequests];
    expect(new Set(sequences.map(({ sequence }) => sequence)).size).toBe(1);
    await made.lease(ASK, 5_000, NEVER);
    expect(fake.leaseRequests.at(-1)?.sequence).toBeGreaterThan(sequences[0].sequence);
  });

  it('buys a new session when its own is refused, and before it expires', async () => {
    const { fake, url } = await server({}, first, { expiresInSeconds: 1 });
    const { client: made } = await client(url);
    await made.report({ transfers: [] }, NEVER);
    fake.forgetSessions();
    await made.report({ transfers: [] }, NEVER);
    const bought = () => fake.requests.filter((each) => each.endsWith('/session')).length;
    expect(bought()).toBe(2);
    await new Promise((resolve) => setTimeout(resolve, 750));
    await made.report({ transfers: [] }, NEVER);
    expect(bought()).toBe(3);
  });

  it('says all versions that it speaks and keeps to the one that was chosen', async () => {
    const { fake, url } = await server({}, first, { protocolVersion: 2 });
    const { client: made } = await client(url, { protocolVersions: [1, 2] });
    expect(made.protocolVersion).toBeUndefined();
    await made.report({ transfers: [] }, NEVER);
    expect(made.protocolVersion).toBe(2);
    expect([...fake.sessions.values()][0]?.request.protocolVersions).toEqual([1, 2]);
  });

  it.each([
    { chosen: 3, remedy: 'upgrade relays and agents' },
    { chosen: 1, remedy: 'upgrade the operator' },
  ])('takes no session in version $chosen, which it does not speak', async ({ chosen, remedy }) => {
    const { fake, url } = await server({}, first, { protocolVersion: chosen });
    const { client: made } = await client(url, { protocolVersions: [2] });
    const error = await made.report({ transfers: [] }, NEVER).catch((refused) => refused);
    expect(error).toMatchObject({ code: 'UnknownVersion', transient: false });
    expect(error.message).toContain(`version ${chosen}`);
    expect(error.message).toContain(remedy);
    expect(fake.reports).toHaveLength(0);
  });

  it('reads a renewed projected token', async () => {
    const { fake, url } = await server();
    const tokenFile = path.join(folder, 'renewed-token');
    await writeFile(tokenFile, 'old');
    const { client: made } = await client(url, { tokenFile });
    await made.report({ transfers: [] }, NEVER);
    await writeFile(tokenFile, 'new');
    fake.forgetSessions();
    await made.report({ transfers: [] }, NEVER);
    expect(fake.reports.map(({ session }) => session.name)).toEqual(['old', 'new']);
  });

  it('trusts a rotated CA without a restart, and nobody else', async () => {
    const caFile = path.join(folder, 'rotating.crt');
    await writeFile(caFile, first.ca);
    const one = await server();
    const { client: made } = await client(one.url, { caFile });
    await made.report({ transfers: [] }, NEVER);
    await one.fake.stop();
    const two = await server({}, second, { port: Number(one.url.port) });
    expect(await codeOf(made.report({ transfers: [] }, NEVER))).toBe('Unreachable');
    await writeFile(caFile, `${first.ca}${second.ca}`);
    await made.report({ transfers: [] }, NEVER);
    expect(two.fake.reports).toHaveLength(1);
  });

  it('follows a standby to the leader, stays there, and never leaves the trust of the CA', async () => {
    const leader = await server();
    const stranger = await server({}, second);
    // The leader's pod is named by address: its certificate names the service all the same.
    const target = { port: leader.url.port };
    const standby = await server({
      intercept: (request, response) => {
        const location = `https://127.0.0.1:${target.port}${request.url}`;
        response.writeHead(307, { location }).end();
        return true;
      },
    });
    const { client: made } = await client(standby.url);
    await made.report({ transfers: [] }, NEVER);
    await made.report({ transfers: [] }, NEVER);
    expect(leader.fake.reports).toHaveLength(2);
    expect(standby.fake.requests).toHaveLength(1);

    await leader.fake.stop();
    target.port = stranger.url.port;
    expect(await codeOf(made.report({ transfers: [] }, NEVER))).toBe('Unreachable');
    expect(await codeOf(made.report({ transfers: [] }, NEVER))).toBe('Unreachable');
    expect(stranger.fake.requests).toHaveLength(0);
  });

  it('reports by its work stream, over the one connection, and by requests when none is open', async () => {
    const { fake, url } = await server();
    const { client: made, problems } = await client(url);
    const end = await working(made);
    const both = [made.report({ transfers: [] }, NEVER), made.report({ transfers: [] }, NEVER)];
    expect(await Promise.all(both)).toMatchObject([
      { reportIntervalMs: 200 },
      { reportIntervalMs: 200 },
    ]);
    expect(fake.requests).toEqual(['POST /v1/session', 'POST /v1/work']);
    expect(fake.connections).toBe(1);
    await end();
    await made.report({ transfers: [] }, NEVER);
    expect(fake.requests.at(-1)).toBe('POST /v1/reports');
    expect(fake.reports.map(({ report }) => report.sequence)).toEqual([1, 2, 3]);
    expect(problems).toEqual([]);
  });

  it('reports by requests at a server of the release before', async () => {
    const { fake, url } = await server({}, first, { protocolVersion: 1 });
    const { client: made } = await client(url);
    const end = await working(made);
    await made.report({ transfers: [] }, NEVER);
    await end();
    expect(fake.requests).toEqual(['POST /v1/session', 'GET /v1/work', 'POST /v1/reports']);
  });

  it('knows that a report was not heard: its stream ended, or it could not be read', async () => {
    const { fake, url } = await server({
      report: (response) => {
        response.write('{"type":"reportRefused","message":"report: too odd"}\n');
        return true;
      },
    });
    const { client: made } = await client(url);
    await working(made);
    const refused = await made.report({ transfers: [] }, NEVER).catch((error) => error);
    expect(refused).toMatchObject({ code: 'Refused', message: 'report: too odd' });
    fake.handlers = {
      report: (response) => {
        response.destroy();
        return true;
      },
    };
    expect(await codeOf(made.report({ transfers: [] }, AbortSignal.abort()))).toBe('Aborted');
    expect(await codeOf(made.report({ transfers: [] }, NEVER))).toBe('Unreachable');
    expect(fake.reports).toEqual([]);
  });

  describe('at a server to which thousands come at once', () => {
    /** Lets each connection in after so long. */
    async function door(url: URL, turnMs: number) {
      const came: Socket[] = [];
      const listening = createServer((socket) => {
        const turn = setTimeout(() => {
          socket.pipe(connect(Number(url.port), '127.0.0.1')).pipe(socket);
        }, turnMs);
        came.push(socket.on('error', () => {}).once('close', () => clearTimeout(turn)));
      });
      listening.listen(0, '127.0.0.1');
      await once(listening, 'listening');
      stops.push(() => {
        for (const socket of came) socket.destroy();
        listening.close();
      });
      const { port } = listening.address() as AddressInfo;
      return { came, url: new URL(`https://localhost:${port}`) };
    }

    it('waits for its turn, for longer than for an answer', async () => {
      const { came, url } = await door((await server()).url, 5_500);
      const { client: made, problems } = await client(url);
      await eventsUntil(made, 'synced', 1);
      // For its session, and while that connection is idle for its work stream.
      expect(came.length).toBeLessThanOrEqual(2);
      expect(problems).toEqual([]);
    });

    it('ends at once when it is to', async () => {
      const { came, url } = await door((await server()).url, 60_000);
      const { client: made } = await client(url);
      const abort = new AbortController();
      const ended = made.work(abort.signal).next();
      await vi.waitFor(() => expect(came).toHaveLength(1));
      abort.abort();
      expect((await ended).done).toBe(true);
      expect(await codeOf(made.report({ transfers: [] }, AbortSignal.timeout(100)))).toBe(
        'Aborted',
      );
    }, 5_000);
  });

  it('goes straight to the leader that a work stream names, as long as that is open', async () => {
    const leader = await server();
    const service = await server({
      intercept: (_request, response, at) => {
        if (at !== '/v1/work') return false;
        const named = { 'content-location': `https://127.0.0.1:${leader.url.port}/v1/work` };
        response.writeHead(200, named).write(`${JSON.stringify({ type: 'synced' })}\n`);
        return true;
      },
    });
    const { client: made } = await client(service.url);
    const abort = new AbortController();
    for await (const { type } of made.work(abort.signal)) {
      if (type !== 'synced') continue;
      await made.lease(ASK, 1_000, NEVER);
      // It does not know the session, which the other one gave.
      expect(leader.fake.requests).toEqual(['POST /v1/leases']);
      abort.abort();
    }
    await made.report({ transfers: [] }, NEVER);
    expect(leader.fake.requests).toHaveLength(1);
  });

  it('goes to the one that leads next when its stream has ended, and else to the service', async () => {
    const asked: string[] = [];
    /** Streams that name these, one after the other, and end. */
    const replica = (name: string, nextLeaders: readonly string[]) => {
      const left = [...nextLeaders];
      return server({
        intercept: (_request, response, at) => {
          if (at !== '/v1/work') return false;
          asked.push(name);
          const heartbeat = { type: 'heartbeat', nextLeader: left.shift() };
          response.writeHead(200).end(`${JSON.stringify(heartbeat)}\n`);
          return true;
        },
      });
    };
    const urlOf = ({ url }: { url: URL }) => `https://127.0.0.1:${url.port}`;
    const gone = await server();
    const next = await replica('next', ['http://127.0.0.1']);
    const service = await replica('service', [urlOf(next), urlOf(gone)]);
    await gone.fake.stop();
    const { client: made, problems } = await client(service.url);
    await eventsUntil(made, 'opened', 4);
    // What is no address to go to is passed over.
    expect(asked).toEqual(['service', 'next', 'service', 'service']);
    expect(problems).toMatchObject([{ code: 'Unreachable' }]);
  });

  it('tells a standby, once, which leader it did not reach', async () => {
    const leader = await server();
    const gone = `https://127.0.0.1:${leader.url.port}`;
    const told: unknown[] = [];
    const standby = await server({
      intercept: (request, response, at) => {
        if (at !== '/v1/work') return false;
        expect(request.method).toBe('POST');
        told.push(request.headers[UNREACHABLE_HEADER]);
        if (told.length === 1) {
          response.writeHead(307, { location: `${gone}/v1/work` }).end();
          return true;
        }
        const isHeld = told.length < 5;
        if (isHeld) response.writeHead(503, { 'retry-after': '0' }).end();
        return isHeld;
      },
    });
    await leader.fake.stop();
    const { client: made } = await client(standby.url);
    await eventsUntil(made, 'synced', 1);
    expect(told).toEqual([undefined, gone, undefined, undefined, undefined]);
  });

  it('names what is wrong by code: refused, unavailable, missing credentials, aborted', async () => {
    let status = 403;
    const { url } = await server({
      intercept: (_request, response, at) => {
        if (at === '/v1/session') return false;
        const body = { code: 'PodNotKnown', message: 'no pod of ours' };
        response.writeHead(status).end(JSON.stringify(body));
        return true;
      },
    });
    const { client: made } = await client(url);
    const refused = await made.report({ transfers: [] }, NEVER).catch((error) => error);
    expect(refused).toMatchObject({ code: 'Refused', apiCode: 'PodNotKnown', status: 403 });
    status = 503;
    expect(await codeOf(made.report({ transfers: [] }, NEVER))).toBe('Unavailable');
    expect(await codeOf(made.report({ transfers: [] }, AbortSignal.abort()))).toBe('Aborted');
    const { client: lost } = await client(url, { tokenFile: path.join(folder, 'no-such-file') });
    expect(await codeOf(lost.report({ transfers: [] }, NEVER))).toBe('CredentialsMissing');
  });
});
