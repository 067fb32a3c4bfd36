/** What an origin may do, right or wrong, and what then follows: at its own books and on the disk. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_HTTP_OPTIONS, NodeHttpSource } from '../adapters/http/nodeHttpSource.ts';
import { systemClock } from '../adapters/systemClock.ts';
import type { Clock } from '../ports/clock.ts';
import { MemoryTarget } from '../testing/memoryTarget.ts';
import {
  chunked,
  endless,
  headOf,
  honest,
  RawOrigin,
  type RawOriginOptions,
  type Script,
} from '../testing/rawOrigin.ts';
import { selfSigned } from '../testing/selfSigned.ts';
import type { PullErrorCode } from './originAnswer.ts';
import { createPuller } from './originPuller.ts';
import { UNSEEN_BYTES } from './puller.ts';

const PIECE = 262_144;
const BODY = randomBytes(6 * PIECE + 12_345);
const RATE = 4_000_000;
const SLACK = 400_000;
const WINDOWS_MS = [10, 50, 200, 1000];

interface Case {
  readonly origin: string;
  readonly script: Script;
  /** How the pull ends. */
  readonly ends: 'completed' | PullErrorCode;
  readonly connections?: number;
  readonly slackBytes?: number;
  /** The clock of the pull runs so much faster than the origin's: back-offs are long. */
  readonly speed?: number;
  readonly idleTimeoutMs?: number;
  /** It sends what nobody asked for: then the rate cannot hold, but what it sent is charged. */
  readonly unasked?: true;
  readonly mostRequests?: number;
}

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

interface PullOptions {
  readonly ranges?: boolean;
  readonly tls?: RawOriginOptions['tls'];
  readonly scheme?: 'http' | 'https';
  readonly ca?: string;
  readonly connectTimeoutMs?: number;
}

async function pull(
  {
    script,
    connections = 4,
    slackBytes = SLACK,
    speed = 1,
    idleTimeoutMs,
  }: Omit<Case, 'origin' | 'ends'>,
  { ranges = true, tls, scheme = 'http', ca, connectTimeoutMs }: PullOptions = {},
) {
  const origin = new RawOrigin({
    body: BODY,
    script,
    clock: systemClock,
    ...(tls !== undefined && { tls }),
  });
  const port = await origin.start();
  const target = new MemoryTarget(BODY, PIECE);
  const clock = fasterClock(speed);
  const grant = {
    extents: [{ first: 0, count: Math.ceil(BODY.length / PIECE) }],
    rateBytesPerSecond: RATE,
    slackBytes,
    connections,
    maxBytes: 20 * BODY.length + 8 * UNSEEN_BYTES,
    ttlMs: 600_000,
  };
  const http = new NodeHttpSource({
    ...DEFAULT_HTTP_OPTIONS,
    ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
    ...(ca !== undefined && { ca }),
    ...(connectTimeoutMs !== undefined && { connectTimeoutMs }),
  });
  const url = `${scheme}://127.0.0.1:${port}/file.bin`;
  const files = [{ url, sizeBytes: BODY.length, validator: { etag: '"one"' } }];
  const options = { files, headers: {}, ranges, pieceLengthBytes: PIECE };
  const dependencies = { http, clock, layout: target, target };
  const puller = createPuller(grant, clock.now(), options, dependencies);
  stops.push(async () => {
    await puller.close();
    await origin.stop();
  });
  puller.start();
  const end = await puller.ended;
  await puller.close();
  return { end, puller, target, origin, connections, slackBytes, speed };
}

function fasterClock(speed: number): Clock {
  return {
    now: () => systemClock.now() * speed,
    setTimer: (delayMs, callback) => systemClock.setTimer(delayMs / speed, callback),
  };
}

/** What must hold however it ends. */
async function check(
  { end, puller, target, origin, connections, slackBytes, speed }: Awaited<ReturnType<typeof pull>>,
  { ends, unasked }: Pick<Case, 'ends' | 'unasked'>,
) {
  expect(end.kind === 'failed' ? end.error.code : end.kind).toBe(ends);
  expect(target.mismatches).toBe(0);
  if (ends === 'completed') expect(target.bytes.equals(BODY)).toBe(true);
  expect(origin.meter.mostConnections).toBeLessThanOrEqual(connections);
  expect(puller.usedBytes()).toBeGreaterThanOrEqual(origin.meter.totalBytes);
  if (unasked === undefined) {
    for (const windowMs of WINDOWS_MS) {
      const bound = (RATE * speed * windowMs) / 1000 + slackBytes;
      expect(origin.meter.largestWindow(windowMs), `in ${windowMs} ms`).toBeLessThanOrEqual(bound);
    }
  }
  await sleep(20);
  expect(origin.meter.openConnections).toBe(0);
}

/** Only some of the answers are like that. */
function sometimes(is: (count: number) => boolean, script: Script): Script {
  return (request, wire, body) => (is(request.count) ? script : honest)(request, wire, body);
}

function after(delayMs: number): Script {
  return async (request, wire, body) => {
    await sleep(delayMs);
    await honest(request, wire, body);
  };
}

/** Nothing for the most of each period, on any connection, and then everything at once. */
const stalling: Script = async (request, wire, body) => {
  const phase = performance.now() % 600;
  if (phase < 450) await sleep(450 - phase);
  await honest(request, wire, body);
};

/** The head as it should be but for these, and the bytes that were asked for. */
function withHead(changes: Readonly<Record<string, string | undefined>>, status?: string): Script {
  return async (request, wire, body) => {
    await wire.send(headOf(request, body, changes, status));
    await wire.send(body.subarray(request.start, request.end));
  };
}

function cutAt(share: number, how: 'end' | 'reset'): Script {
  return async (request, wire, body) => {
    const { start, end } = request;
    await wire.send(headOf(request, body));
    await wire.send(body.subarray(start, start + Math.ceil((end - start) * share)));
    wire[how]();
  };
}

function answering(status: string, headers: Readonly<Record<string, string>> = {}): Script {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return (_, wire) =>
    wire.send(`HTTP/1.1 ${status}\r\nContent-Length: 3\r\n${lines.join('')}\r\nno\n`);
}

const saying =
  (text: string): Script =>
  (_, wire) =>
    wire.send(text);

/** Ends the connection after the answer, without a word of it. */
const endingAfterwards: Script = async (request, wire, body) => {
  await honest(request, wire, body);
  wire.end();
};

const wholeFile: Script = async (request, wire, body) => {
  await wire.send(
    headOf(
      request,
      body,
      { 'Content-Range': undefined, 'Content-Length': String(body.length) },
      '200 OK',
    ),
  );
  await wire.send(body);
};

/** Holds back what is asked for in its first moments, and then resets every connection at once. */
function dyingOnce(): Script {
  let diesAtMs: number | undefined;
  return async (request, wire, body) => {
    const now = performance.now();
    diesAtMs ??= now + 600;
    if (now > diesAtMs - 100) return honest(request, wire, body);
    await sleep(diesAtMs - now);
    wire.reset();
  };
}

const twice: Script = async (request, wire, body) => {
  await honest(request, wire, body);
  await sleep(30);
  await wire.send('and another thing');
};

const trickling: Script = async (request, wire, body) => {
  await wire.send(headOf(request, body));
  for (let at = request.start; at < request.end && wire.isOpen; at += 1) {
    await wire.send(body.subarray(at, at + 1));
    await sleep(40);
  }
};

const interim =
  (text: string): Script =>
  async (request, wire, body) => {
    await wire.send(text);
    await honest(request, wire, body);
  };

const parts: Script = async (request, wire, body) => {
  const { start, end } = request;
  const part = Buffer.concat([
    Buffer.from(`--x\r\nContent-Range: bytes ${start}-${end - 1}/${body.length}\r\n\r\n`),
    body.subarray(start, end),
    Buffer.from('\r\n--x--\r\n'),
  ]);
  const changes = { 'Content-Type': 'multipart/byteranges; boundary=x' };
  await wire.send(headOf(request, body, { ...changes, 'Content-Length': String(part.length) }));
  await wire.send(part);
};

const EARLY_HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n';

const CASES: readonly Case[] = [
  // Slow and uneven, but right.
  { origin: 'is right', script: honest, ends: 'completed' },
  { origin: 'answers after 100 ms', script: after(100), ends: 'completed' },
  { origin: 'answers after 500 ms', script: after(500), ends: 'completed' },
  { origin: 'stalls and then bursts', script: stalling, ends: 'completed' },
  {
    origin: 'stalls and bursts, over 16 connections',
    script: stalling,
    ends: 'completed',
    connections: 16,
  },
  {
    origin: 'trickles some answers, a byte at a time',
    script: sometimes((count) => count <= 2, trickling),
    ends: 'completed',
    idleTimeoutMs: 400,
  },
  // Connections.
  {
    origin: 'ends each connection after an answer, and says so',
    script: withHead({ Connection: 'close' }),
    ends: 'completed',
  },
  {
    origin: 'ends each connection after an answer, unsaid',
    script: endingAfterwards,
    ends: 'completed',
  },
  { origin: 'ends answers half way', script: cutAt(0.6, 'end'), ends: 'completed', speed: 5 },
  {
    origin: 'resets some answers half way',
    script: sometimes((count) => count % 4 === 0, cutAt(0.6, 'reset')),
    ends: 'completed',
  },
  {
    origin: 'loses all its connections at once',
    script: dyingOnce(),
    slackBytes: 1_300_000,
    ends: 'completed',
    connections: 16,
  },
  {
    origin: 'ends each connection before the head',
    script: async (_, wire) => wire.end(),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'resets each connection before the head',
    script: async (_, wire) => wire.reset(),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'ends in the middle of the head',
    script: async (_, wire) => {
      await wire.send('HTTP/1.1 206 Part');
      wire.end();
    },
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'brings next to nothing of each answer',
    script: cutAt(0.01, 'end'),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  // Ranges and lengths.
  {
    origin: 'sends the whole file for a range',
    script: wholeFile,
    ends: 'RangeIgnored',
    unasked: true,
  },
  {
    origin: 'says that it sends more than the range',
    script: async (request, wire, body) => {
      await wire.send(headOf(request, body, { 'Content-Length': '999999999' }));
      await wire.send(body);
    },
    ends: 'BadContentRange',
    unasked: true,
  },
  {
    origin: 'says that it sends less than the range',
    script: withHead({ 'Content-Length': '100' }),
    ends: 'BadContentRange',
    unasked: true,
  },
  {
    origin: 'sends more than the range, in chunks',
    script: chunked(8192, (_, body) => body),
    ends: 'BadContentRange',
    unasked: true,
  },
  {
    origin: 'sends chunks without end',
    script: endless(
      (request, body) =>
        headOf(request, body, { 'Content-Length': undefined, 'Transfer-Encoding': 'chunked' }),
      `8\r\n12345678\r\n`,
    ),
    ends: 'BadContentRange',
    unasked: true,
  },
  {
    origin: 'sends less than the range, in chunks, and nothing is missing at the end',
    script: chunked(8192, ({ start, end }, body) =>
      body.subarray(start, start + Math.ceil((end - start) / 2)),
    ),
    ends: 'completed',
    speed: 5,
  },
  {
    origin: 'sends no bytes, in chunks',
    script: chunked(8192, () => Buffer.alloc(0)),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'sends something after an answer',
    script: twice,
    ends: 'SourceRefused',
    unasked: true,
  },
  {
    origin: 'sends several parts for one range',
    script: parts,
    ends: 'BadContentRange',
    unasked: true,
  },
  {
    origin: 'names another range',
    script: withHead({ 'Content-Range': `bytes 7-7006/${BODY.length}` }),
    ends: 'BadContentRange',
    mostRequests: 4,
  },
  {
    origin: 'names no range',
    script: withHead({ 'Content-Range': undefined }),
    ends: 'BadContentRange',
    mostRequests: 4,
  },
  {
    origin: 'names a range that is none',
    script: withHead({ 'Content-Range': 'bytes */*' }),
    ends: 'BadContentRange',
    mostRequests: 4,
  },
  {
    origin: 'names another length of the file',
    script: async (request, wire, body) =>
      withHead({ 'Content-Range': `bytes ${request.start}-${request.end - 1}/${body.length + 1}` })(
        request,
        wire,
        body,
      ),
    ends: 'SourceChanged',
    mostRequests: 4,
  },
  // Validators and encodings.
  {
    origin: 'has another ETag',
    script: withHead({ ETag: '"two"' }),
    ends: 'SourceChanged',
    mostRequests: 4,
  },
  {
    origin: 'has another ETag half way',
    script: sometimes((count) => count > 12, withHead({ ETag: '"two"' })),
    ends: 'SourceChanged',
  },
  {
    origin: 'says that the condition does not hold',
    script: answering('412 Precondition Failed'),
    ends: 'SourceChanged',
    mostRequests: 4,
  },
  { origin: 'names no ETag', script: withHead({ ETag: undefined }), ends: 'completed' },
  {
    origin: 'compresses',
    script: withHead({ 'Content-Encoding': 'gzip' }),
    ends: 'SourceRefused',
    mostRequests: 4,
  },
  {
    origin: 'says that it does not encode',
    script: withHead({ 'Content-Encoding': 'identity' }),
    ends: 'completed',
  },
  { origin: 'answers in chunks', script: chunked(1024), ends: 'completed' },
  // Heads.
  {
    origin: 'has heads of 12 kB',
    script: withHead({ 'X-Padding': 'x'.repeat(12_000) }),
    ends: 'completed',
    unasked: true,
  },
  {
    origin: 'has heads of 20 kB',
    script: withHead({ 'X-Padding': 'x'.repeat(20_000) }),
    ends: 'SourceRefused',
    unasked: true,
  },
  {
    origin: 'has heads without end',
    script: endless(() => 'HTTP/1.1 206 Partial Content\r\n', 'X-Padding: xxxxxxxxxxxxxxxxx\r\n'),
    ends: 'SourceRefused',
    unasked: true,
  },
  {
    origin: 'has one header without end',
    script: endless(() => 'HTTP/1.1 206 Partial Content\r\nX-Padding: ', 'xxxxxxxxxx'),
    ends: 'SourceRefused',
    unasked: true,
  },
  { origin: 'announces an answer', script: interim(EARLY_HINTS), ends: 'completed' },
  {
    origin: 'announces answers without end',
    script: endless(() => '', EARLY_HINTS),
    ends: 'SourceRefused',
    unasked: true,
  },
  {
    origin: 'wants another protocol',
    script: saying(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n',
    ),
    ends: 'SourceRefused',
  },
  {
    origin: 'speaks no HTTP',
    script: saying('220 smtp.example.com ESMTP\r\n'),
    ends: 'SourceRefused',
  },
  {
    origin: 'gives two lengths',
    script: saying(
      'HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    ),
    ends: 'SourceRefused',
  },
  {
    origin: 'gives a length and chunks',
    script: withHead({ 'Transfer-Encoding': 'chunked' }),
    ends: 'SourceRefused',
    unasked: true,
  },
  // Other answers.
  {
    origin: 'redirects to itself',
    script: answering('302 Found', { Location: '/file.bin' }),
    ends: 'SourceRedirected',
    mostRequests: 4,
  },
  {
    origin: 'redirects to another origin',
    script: answering('307 Temporary Redirect', { Location: 'http://127.0.0.2:9/' }),
    ends: 'SourceRedirected',
    mostRequests: 4,
  },
  {
    origin: 'has too many requests, for a second',
    script: sometimes(
      (count) => count <= 4,
      answering('429 Too Many Requests', { 'Retry-After': '1' }),
    ),
    ends: 'completed',
  },
  {
    origin: 'is away for a moment',
    script: sometimes((count) => count <= 4, answering('503 Service Unavailable')),
    ends: 'completed',
  },
  {
    origin: 'is away, with a page without end',
    script: sometimes(
      (count) => count === 1,
      endless(() => 'HTTP/1.1 503 Service Unavailable\r\n\r\n', 'sorry '),
    ),
    ends: 'completed',
    connections: 1,
    unasked: true,
  },
  {
    origin: 'is away',
    script: answering('503 Service Unavailable'),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 10,
  },
  {
    origin: 'lost the file',
    script: answering('404 Not Found'),
    ends: 'SourceNotFound',
    mostRequests: 4,
  },
  {
    origin: 'is closed to us, with a page without end',
    script: endless(() => 'HTTP/1.1 403 Forbidden\r\n\r\n', 'no '),
    ends: 'SourceForbidden',
    unasked: true,
  },
  {
    origin: 'answers with nothing',
    script: saying('HTTP/1.1 204 No Content\r\n\r\n'),
    ends: 'SourceRefused',
    mostRequests: 4,
  },
];

describe('a pull in ranges from an origin that', () => {
  it.each(CASES)('$origin: $ends', async (each) => {
    const run = await pull(each);
    await check(run, each);
    if (each.mostRequests !== undefined) {
      expect(run.origin.requests).toBeLessThanOrEqual(each.mostRequests);
    }
  });

  it('asks to be left alone for a second is left alone for it', async () => {
    const askedAtMs: number[] = [];
    const busy = answering('429 Too Many Requests', { 'Retry-After': '1' });
    const { end } = await pull({
      connections: 1,
      script: async (request, wire, body) => {
        askedAtMs.push(performance.now());
        await (request.count === 1 ? busy : honest)(request, wire, body);
      },
    });
    expect(end.kind).toBe('completed');
    expect((askedAtMs[1] ?? 0) - (askedAtMs[0] ?? 0)).toBeGreaterThanOrEqual(999);
  });
});

const STREAM_CASES: readonly Case[] = [
  { origin: 'is right', script: honest, ends: 'completed' },
  { origin: 'answers in chunks', script: chunked(4096), ends: 'completed' },
  {
    origin: 'ends the first stream half way',
    script: sometimes((count) => count === 1, cutAt(0.5, 'end')),
    ends: 'completed',
  },
  {
    origin: 'is away for a moment',
    script: sometimes(
      (count) => count === 1,
      answering('503 Service Unavailable', { 'Retry-After': '1' }),
    ),
    ends: 'completed',
  },
  {
    origin: 'ends each stream early',
    script: cutAt(0.01, 'reset'),
    ends: 'SourceUnavailable',
    speed: 10,
    mostRequests: 7,
  },
  {
    origin: 'sends a part',
    script: withHead({ 'Content-Range': `bytes 0-9/${BODY.length}` }, '206 Partial Content'),
    ends: 'BadContentRange',
  },
  {
    origin: 'has another length',
    script: withHead({ 'Content-Length': '100' }),
    ends: 'SourceChanged',
  },
  { origin: 'has another ETag', script: withHead({ ETag: '"two"' }), ends: 'SourceChanged' },
  {
    origin: 'sends more than the file',
    script: chunked(8192, (_, body) => Buffer.concat([body, body])),
    ends: 'SourceChanged',
  },
  { origin: 'compresses', script: withHead({ 'Content-Encoding': 'br' }), ends: 'SourceRefused' },
  {
    origin: 'announces answers without end',
    script: endless(() => '', EARLY_HINTS),
    ends: 'SourceRefused',
  },
  {
    origin: 'speaks no HTTP',
    script: saying('220 smtp.example.com ESMTP\r\n'),
    ends: 'SourceRefused',
  },
  {
    origin: 'redirects',
    script: answering('301 Moved Permanently', { Location: '/' }),
    ends: 'SourceRedirected',
  },
];

describe('a pull in one stream from an origin that', () => {
  it.each(STREAM_CASES)('$origin: $ends', async (each) => {
    const run = await pull(each, { ranges: false });
    // What the kernels hold is the lease's reserve: the rate holds for what is read.
    await check({ ...run, connections: 1 }, { ...each, unasked: true });
    if (each.mostRequests !== undefined) {
      expect(run.origin.requests).toBeLessThanOrEqual(each.mostRequests);
    }
  });
});

describe('a pull over TLS', () => {
  it('takes the file from an origin whose certificate is trusted', async () => {
    const tls = await selfSigned();
    const run = await pull({ script: honest }, { tls, scheme: 'https', ca: tls.cert });
    await check(run, { ends: 'completed' });
  });

  it.each([
    { what: 'a certificate that nobody trusts', secured: true, says: /self.signed certificate/ },
    { what: 'no TLS', secured: false, says: /no connection to the server/ },
  ])('ends with a reason where the origin has $what', async ({ secured, says }) => {
    const tls = secured ? await selfSigned() : undefined;
    // Nothing ever answers a TLS greeting there.
    const plain = { scheme: 'https', connectTimeoutMs: 100 } as const;
    const options = tls === undefined ? plain : ({ scheme: 'https', tls } as const);
    const run = await pull({ script: honest, speed: 10 }, options);
    await check(run, { ends: 'SourceUnavailable' });
    expect(run.end.kind === 'failed' ? run.end.error.message : '').toMatch(says);
    expect(run.origin.requests).toBe(0);
  });
});

describe('a connection to an origin', () => {
  it('ends when the origin speaks without being asked, and what it said is counted', async () => {
    const extra = 'nobody asked for this';
    const origin = new RawOrigin({
      body: BODY,
      clock: systemClock,
      script: async (request, wire, body) => {
        await honest(request, wire, body);
        await sleep(50);
        if (request.count === 1) await wire.send(extra);
      },
    });
    const url = new URL(`http://127.0.0.1:${await origin.start()}/`);
    const connection = new NodeHttpSource().connection(url);
    stops.push(
      () => connection.close(),
      () => origin.stop(),
    );
    const request = {
      headers: {},
      range: { start: 0, end: 9 },
      onHead: () => {},
      onChunk: () => {},
    };
    const { signal } = new AbortController();
    const first = await connection.request(request, signal);
    await sleep(150);
    expect(origin.meter.openConnections).toBe(0);
    const second = await connection.request(request, signal);
    expect(origin.connections).toBe(2);
    expect(second.wireBytes).toBe(first.wireBytes + extra.length);
  });
});
