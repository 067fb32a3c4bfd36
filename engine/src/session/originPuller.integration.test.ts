import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { NodeHttpSource } from '../adapters/http/nodeHttpSource.ts';
import { systemClock } from '../adapters/systemClock.ts';
import { MemoryTarget } from '../testing/memoryTarget.ts';
import { OriginMeter } from '../testing/originMeter.ts';
import { createPuller } from './originPuller.ts';
import type { PullEnd, Puller, PullGrant } from './puller.ts';

const MIB = 1024 * 1024;
const PIECE = 262_144;

interface Behaviour {
  /** Undefined: the honest answer follows. */
  before?: (request: IncomingMessage, response: ServerResponse, count: number) => boolean;
  etag?: () => string;
  totalOf?: (size: number) => number;
  shiftStart?: number;
  latencyMs?: number;
  ranges?: boolean;
  /** Where the body ends although the headers promise more. */
  cutBodyAt?: (count: number) => number;
}

/** An origin that writes down what its sockets were given, when. */
class TestOrigin {
  readonly meter = new OriginMeter(systemClock);
  readonly body: Buffer;
  behaviour: Behaviour;
  requests = 0;
  readonly #server: Server;

  constructor(body: Buffer, behaviour: Behaviour = {}) {
    this.body = body;
    this.behaviour = behaviour;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on('connection', (socket) => this.meter.watch(socket));
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/file.bin`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    const { before, etag, totalOf, shiftStart = 0, latencyMs, ranges, cutBodyAt } = this.behaviour;
    if (before?.(request, response, this.requests) === true) return;
    const count = this.requests;
    if (latencyMs !== undefined) await new Promise((resolve) => setTimeout(resolve, latencyMs));
    response.setHeader('etag', etag?.() ?? '"one"');
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const total = totalOf?.(this.body.length) ?? this.body.length;
    let body = this.body;
    if (match !== null && ranges !== false) {
      const [start, end] = [Number(match[1]), Number(match[2]) + 1];
      body = body.subarray(start, end);
      response.statusCode = 206;
      response.setHeader(
        'content-range',
        `bytes ${start + shiftStart}-${end + shiftStart - 1}/${total}`,
      );
    }
    response.setHeader('content-length', body.length);
    const cut = cutBodyAt?.(count);
    if (cut !== undefined && cut < body.length) {
      response.write(body.subarray(0, cut), () => response.socket?.end());
      return;
    }
    response.end(body);
  }
}

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

interface Run {
  puller: Puller;
  target: MemoryTarget;
  origin: TestOrigin;
  grant: PullGrant;
}

async function run(
  body: Buffer,
  behaviour: Behaviour = {},
  change: Partial<PullGrant> = {},
  ranges = true,
): Promise<Run> {
  const origin = new TestOrigin(body, behaviour);
  const url = await origin.start();
  const target = new MemoryTarget(body, PIECE);
  const grant = {
    extents: [{ first: 0, count: Math.ceil(body.length / PIECE) }],
    rateBytesPerSecond: 400 * MIB,
    slackBytes: 20 * MIB,
    connections: 4,
    maxBytes: 10 * body.length + 10 * MIB,
    ttlMs: 10_000,
    ...change,
  };
  const puller = createPuller(
    grant,
    performance.now(),
    {
      files: [{ url, sizeBytes: body.length, validator: { etag: '"one"' } }],
      headers: { authorization: 'Bearer x' },
      ranges,
      pieceLengthBytes: PIECE,
      isFirst: true,
    },
    { http: new NodeHttpSource(), clock: systemClock, layout: target, target },
  );
  stops.push(async () => {
    await puller.close();
    await origin.stop();
  });
  puller.start();
  return { puller, target, origin, grant };
}

async function failureOf(run: Run): Promise<string> {
  const end: PullEnd = await run.puller.ended;
  return end.kind === 'failed' ? end.error.code : `${end.kind}`;
}

describe('a pull from an origin', () => {
  it('takes every byte once, in file order, over its connections, and charges what was written', async () => {
    const body = randomBytes(16 * MIB + 12_345);
    const { puller, target, origin, grant } = await run(body);
    expect(await puller.ended).toEqual({ kind: 'completed' });
    await puller.close();
    expect(target.bytes.equals(body)).toBe(true);
    expect(puller.unfinished()).toEqual([]);
    expect(target.order[0]).toBe(0);
    expect(puller.usedBytes()).toBe(origin.meter.totalBytes);
    expect(puller.meters()).toEqual({
      socketBytes: origin.meter.totalBytes,
      answeredBytes: origin.meter.totalBytes,
      pieceBytes: body.length,
    });
    expect(origin.meter.totalBytes).toBeLessThan(body.length * 1.01);
    expect(origin.meter.mostConnections).toBeLessThanOrEqual(grant.connections);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(origin.meter.openConnections).toBe(0);
  });

  it.each([
    { latencyMs: 0, connections: 4 },
    { latencyMs: 20, connections: 4 },
  ])(
    'holds 20 MB/s in every window, at $latencyMs ms and $connections connections',
    async ({ latencyMs, connections }) => {
      const rate = 20_000_000;
      const slack = rate * (latencyMs / 1000 + 0.032) + 60_000;
      const body = randomBytes(64 * MIB);
      const { puller, target, origin } = await run(
        body,
        { latencyMs },
        { rateBytesPerSecond: rate, slackBytes: Math.round(slack), connections },
      );
      expect(await puller.ended).toEqual({ kind: 'completed' });
      await puller.close();
      expect(target.bytes.equals(body)).toBe(true);
      const window = origin.meter.largestWindow(1000);
      expect(window).toBeLessThanOrEqual(rate + slack);
      for (const windowMs of [10, 50, 200]) {
        const bound = (rate * windowMs) / 1000 + slack;
        expect(origin.meter.largestWindow(windowMs)).toBeLessThanOrEqual(bound);
      }
    },
  );

  it('brings the first piece before it asks for more', async () => {
    let answeredBytes = 0;
    const answeredBefore: number[] = [];
    const before = (request: IncomingMessage, response: ServerResponse) => {
      const [start = 0, last = 0] = request.headers.range?.match(/\d+/g)?.map(Number) ?? [];
      if (start + 1 > PIECE) answeredBefore.push(answeredBytes);
      response.once('finish', () => {
        answeredBytes += last + 1 - start;
      });
      return false;
    };
    const slackBytes = 5 * 65_536;
    const { puller, target } = await run(
      randomBytes(8 * PIECE),
      { before, latencyMs: 10 },
      { slackBytes },
    );
    expect(await puller.ended).toEqual({ kind: 'completed' });
    expect(answeredBefore[0]).toBe(PIECE);
    expect(target.order).toHaveLength(8);
  });

  it('goes on when the first piece does not come', async () => {
    const before = (_request: IncomingMessage, _response: ServerResponse, count: number) =>
      count === 2;
    const slackBytes = 5 * 65_536;
    const { target } = await run(randomBytes(8 * PIECE), { before }, { slackBytes });
    await expect.poll(() => target.order.length, { timeout: 5000 }).toBeGreaterThan(0);
    expect(target.order).not.toContain(0);
  });

  it('starts nothing more when the grant ends, and says what is left', async () => {
    const body = randomBytes(16 * MIB);
    const { puller, origin } = await run(
      body,
      {},
      { rateBytesPerSecond: 4 * MIB, slackBytes: MIB, ttlMs: 1000 },
    );
    expect(await puller.ended).toEqual({ kind: 'stopped', reason: 'expiry' });
    await puller.close();
    const [left] = puller.unfinished();
    expect(left?.first).toBeGreaterThan(8);
    expect(puller.usedBytes()).toBeGreaterThanOrEqual(origin.meter.totalBytes);
    expect(puller.usedBytes()).toBeLessThan(6 * MIB);
  });

  it('goes on under a renewed grant with more extents and another rate', async () => {
    const body = randomBytes(8 * MIB);
    const { puller, target, grant } = await run(
      body,
      {},
      {
        extents: [{ first: 0, count: 4 }],
        rateBytesPerSecond: 2 * MIB,
        slackBytes: MIB,
        ttlMs: 900,
      },
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    puller.adopt(
      { ...grant, extents: [{ first: 0, count: 32 }], rateBytesPerSecond: 100 * MIB, ttlMs: 9000 },
      performance.now(),
    );
    expect(await puller.ended).toEqual({ kind: 'completed' });
    expect(target.bytes.equals(body)).toBe(true);
  });

  it('takes no more bytes than the grant has', async () => {
    const body = randomBytes(8 * MIB);
    const { puller, origin } = await run(body, {}, { maxBytes: 3 * MIB });
    expect(await puller.ended).toEqual({ kind: 'stopped', reason: 'maxBytes' });
    await puller.close();
    expect(origin.meter.totalBytes).toBeLessThanOrEqual(3 * MIB);
    expect(origin.meter.totalBytes).toBeGreaterThan(2.5 * MIB);
  });

  it('gets through an origin that fails twice and cuts answers short', async () => {
    const body = randomBytes(4 * MIB);
    const { puller, target, origin } = await run(body, {
      before: (_, response, count) => {
        if (count > 2) return false;
        response.statusCode = 500;
        response.end('oops');
        return true;
      },
      cutBodyAt: (count) => (count === 4 || count === 5 ? 1000 : Number.POSITIVE_INFINITY),
    });
    expect(await puller.ended).toEqual({ kind: 'completed' });
    await puller.close();
    expect(target.bytes.equals(body)).toBe(true);
    expect(puller.usedBytes()).toBeGreaterThanOrEqual(origin.meter.totalBytes);
  });

  const always = (statusCode: number) => ({
    before: (_: IncomingMessage, response: ServerResponse) => {
      response.statusCode = statusCode;
      response.end('no');
      return true;
    },
  });

  it.each<[string, string, Behaviour]>([
    ['another ETag', 'SourceChanged', { etag: () => '"two"' }],
    ['412', 'SourceChanged', always(412)],
    ['another total length', 'SourceChanged', { totalOf: (size) => size + 1 }],
    ['404', 'SourceNotFound', always(404)],
    ['403', 'SourceForbidden', always(403)],
    ['302', 'SourceRedirected', always(302)],
    ['400', 'SourceRefused', always(400)],
    ['the whole file for a range', 'RangeIgnored', { ranges: false }],
    ['a Content-Range that was not asked for', 'BadContentRange', { shiftStart: 1 }],
  ])('ends at once when the origin answers with %s: %s', async (_, code, behaviour) => {
    const body = randomBytes(MIB);
    const running = await run(body, behaviour, { connections: 1 });
    expect(await failureOf(running)).toBe(code);
    await running.puller.close();
    expect(running.target.verified.size).toBe(0);
    expect(running.origin.requests).toBe(1);
    expect(running.puller.usedBytes()).toBeGreaterThanOrEqual(
      Math.min(running.origin.meter.totalBytes, MIB),
    );
  });

  it('calls an origin unavailable only after several tries', async () => {
    const running = await run(randomBytes(MIB), always(503), { ttlMs: 30_000 });
    expect(await failureOf(running)).toBe('SourceUnavailable');
    expect(running.origin.requests).toBeGreaterThanOrEqual(7);
    expect(running.origin.requests).toBeLessThanOrEqual(10);
  });

  it('notices a file that changes half way', async () => {
    let requests = 0;
    const running = await run(
      randomBytes(8 * MIB),
      {
        etag: () => {
          requests += 1;
          return requests > 5 ? '"two"' : '"one"';
        },
      },
      { rateBytesPerSecond: 8 * MIB, slackBytes: MIB },
    );
    expect(await failureOf(running)).toBe('SourceChanged');
    expect(running.target.verified.size).toBeGreaterThan(0);
  });
});

describe('a pull from an origin without ranges', () => {
  it('streams the file once at the rate', async () => {
    const body = randomBytes(6 * MIB + 1);
    const startMs = performance.now();
    const { puller, target, origin } = await run(
      body,
      { ranges: false },
      { rateBytesPerSecond: 4 * MIB },
      false,
    );
    expect(await puller.ended).toEqual({ kind: 'completed' });
    await puller.close();
    expect(performance.now() - startMs).toBeGreaterThan(1400);
    expect(target.bytes.equals(body)).toBe(true);
    expect(puller.usedBytes()).toBe(origin.meter.totalBytes);
    expect(puller.meters()).toEqual({
      socketBytes: origin.meter.totalBytes,
      answeredBytes: origin.meter.totalBytes,
      pieceBytes: body.length,
    });
    expect(origin.requests).toBe(1);
  });

  it('starts again from the front after a break and keeps what it has', async () => {
    const body = randomBytes(4 * MIB);
    const { puller, target, origin } = await run(
      body,
      { cutBodyAt: (count) => (count === 1 ? 3 * MIB : Number.POSITIVE_INFINITY) },
      {},
      false,
    );
    expect(await puller.ended).toEqual({ kind: 'completed' });
    expect(target.bytes.equals(body)).toBe(true);
    expect(target.order).toHaveLength(16);
    expect(origin.requests).toBe(2);
  });
});
