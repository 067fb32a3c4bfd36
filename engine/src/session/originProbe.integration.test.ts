import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_HTTP_OPTIONS, NodeHttpSource } from '../adapters/http/nodeHttpSource.ts';
import { systemClock } from '../adapters/systemClock.ts';
import { OriginMeter } from '../testing/originMeter.ts';
import { MAX_PROBE_BYTES, probeOrigin } from './originProbe.ts';

/** Of 127.0.0.1, signed by itself, for a hundred years; protects nothing. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg02yFFJt3CjaYFh49
GYATIR25eOacFDBpLY87jUkOIlChRANCAAQPM1s4gczU0K5/SE19loJZ77AdM7kN
SQk7kZc8kAtMNaaxwzsPBWhUvQ8Eqt7B5Z78qhb0CuO+MDdUNf56TAud
-----END PRIVATE KEY-----`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBijCCATCgAwIBAgIUSYlKFrDU/iBCZVttj0frvUm+UNswCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGb3JpZ2luMCAXDTI2MTEyMzIxMTYwN1oYDzIxMjYxMDMwMjEx
NjA3WjARMQ8wDQYDVQQDDAZvcmlnaW4wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQPM1s4gczU0K5/SE19loJZ77AdM7kNSQk7kZc8kAtMNaaxwzsPBWhUvQ8Eqt7B
5Z78qhb0CuO+MDdUNf56TAudo2QwYjAdBgNVHQ4EFgQUQNnzHXcCztCoN4S21Uas
rBHwz+swHwYDVR0jBBgwFoAUQNnzHXcCztCoN4S21UasrBHwz+swDwYDVR0TAQH/
BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUCIQCGC5Xn
fkATuiAImWtCQ2lMvifXgOkpcI3nMJHzRts9nAIgFvyztJ3CUcLmL62iZvWfAu78
bu+BPs0TgOURZS6ijUQ=
-----END CERTIFICATE-----`;

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function serve(listener: RequestListener): Promise<string> {
  return listen(createServer(listener), 'http');
}

async function listen(server: Server, scheme: string): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}/f`;
}

function probe(url: string, http = new NodeHttpSource()) {
  return probeOrigin(url, { 'x-key': 'k' }, http, AbortSignal.timeout(10_000));
}

/** As much of it as the client's kernel takes. */
function chunked(socket: Socket, bytes: number): void {
  socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
  let left = bytes;
  const more = () => {
    while (left > 0) {
      left -= 65_536;
      if (!socket.write(`10000\r\n${'z'.repeat(65_536)}\r\n`)) break;
    }
    if (left > 0) socket.once('drain', more);
  };
  more();
}

function interim(socket: Socket): void {
  for (let at = 0; at < 40; at += 1) {
    socket.write(`HTTP/1.1 103 Early\r\nx: ${'y'.repeat(1_000)}\r\n\r\n`);
  }
}

function halfAndReset(socket: Socket): void {
  socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n${'x'.repeat(4_000)}`, () => {
    setTimeout(() => socket.resetAndDestroy(), 100);
  });
}

describe('the probe of an origin', () => {
  const etag = '"e"';
  const refused = (code: string, remedy: string) => ({
    kind: 'failed',
    error: { code, message: expect.stringContaining(remedy) },
  });

  it('learns length, validator and ranges from one byte', async () => {
    const url = await serve((request, response) => {
      expect(request.headers['x-key']).toBe('k');
      expect(request.headers.range).toBe('bytes=0-0');
      response.writeHead(206, { etag, 'content-range': 'bytes 0-0/12345', 'content-length': 1 });
      response.end('x');
    });
    const result = await probe(url);
    expect(result).toMatchObject({ kind: 'file', sizeBytes: 12_345, ranges: true });
    expect(result).toMatchObject({ validator: { etag } });
    expect(result.usedBytes).toBeLessThan(300);
  });

  it('cuts an origin off that sends the whole file, and charges what it may have written', async () => {
    const url = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100_000_000 });
      response.write(Buffer.alloc(1_000_000));
    });
    const result = await probe(url);
    expect(result).toMatchObject({ kind: 'file', sizeBytes: 100_000_000, ranges: false });
    expect(result.usedBytes).toBeGreaterThanOrEqual(4 * 1024 * 1024);
  });

  it.each<[string, RequestListener, object]>([
    [
      'an empty file by 416',
      (_, response) => response.writeHead(416, { 'content-range': 'bytes */0' }).end(),
      { kind: 'file', sizeBytes: 0, ranges: true },
    ],
    [
      'an empty file by 200',
      (_, response) => response.writeHead(200, { 'content-length': 0 }).end(),
      { kind: 'file', sizeBytes: 0, ranges: false },
    ],
    [
      'a small file without a length',
      (_, response) => response.writeHead(200).end('hello'),
      { kind: 'file', sizeBytes: 5, ranges: false },
    ],
    [
      'a redirect',
      (_, response) => response.writeHead(302, { location: 'http://169.254.169.254/' }).end(),
      { kind: 'redirect', status: 302, location: 'http://169.254.169.254/' },
    ],
    [
      'a file longer than a transfer can be',
      (_, response) =>
        response.writeHead(206, { 'content-range': 'bytes 0-0/1099511627777' }).end('x'),
      { kind: 'failed', error: { code: 'SourceTooLarge', httpStatus: undefined } },
    ],
    [
      'a length that nobody has, in an answer with the whole file',
      (_, response) => response.writeHead(200, { 'content-length': 10 ** 15 }).write('x'),
      { kind: 'failed', error: { code: 'SourceTooLarge', httpStatus: undefined } },
    ],
    [
      'a file as long as a transfer can be',
      (_, response) =>
        response.writeHead(206, { 'content-range': 'bytes 0-0/1099511627776' }).end('x'),
      { kind: 'file', sizeBytes: 1_099_511_627_776 },
    ],
    [
      'a missing file',
      (_, response) => response.writeHead(404).end('no'),
      { kind: 'failed', error: { code: 'SourceNotFound' } },
    ],
    [
      'a forbidden file',
      (_, response) => response.writeHead(403).end('no'),
      { kind: 'failed', error: { code: 'SourceForbidden' } },
    ],
    [
      'a failing origin',
      (_, response) => response.writeHead(500).end('no'),
      { kind: 'failed', error: { code: 'SourceUnavailable', httpStatus: 500 } },
    ],
    [
      'a lying Content-Range',
      (_, response) => response.writeHead(206, { 'content-range': 'bytes 5-5/9' }).end('x'),
      refused('BadContentRange', '; answer 206 with the range that was asked for'),
    ],
    [
      'a file that it compresses',
      (_, response) =>
        response
          .writeHead(206, { 'content-range': 'bytes 0-0/100', 'content-encoding': 'gzip' })
          .end('x'),
      refused('SourceRefused', 'encoded as gzip; serve it without Content-Encoding'),
    ],
    [
      'an endless body without a length',
      (_, response) => {
        response.writeHead(200);
        response.write(Buffer.alloc(100_000));
      },
      refused('SourceRefused', '; send Content-Length or honour ranges'),
    ],
    [
      'a refusal of byte 0',
      (_, response) => response.writeHead(416, { 'content-range': 'bytes */9' }).end(),
      refused('BadContentRange', '; answer 206 with the range that was asked for'),
    ],
    [
      'a status that gives no file',
      (_, response) => response.writeHead(418).end('no'),
      refused('SourceRefused', 'answers 418; give a URL that answers GET with 200 or 206'),
    ],
    [
      'a redirect to nowhere',
      (_, response) => response.writeHead(302).end('no'),
      refused('SourceRefused', 'answers 302; give a URL that answers GET with 200 or 206'),
    ],
    [
      'a broken connection',
      (request) => request.socket.destroy(),
      { kind: 'failed', error: { code: 'SourceUnavailable' } },
    ],
    [
      'headers without end',
      (_, response) => response.writeHead(200, { 'x-long': 'y'.repeat(30_000) }).end(),
      { kind: 'failed', error: { code: 'SourceUnavailable' } },
    ],
  ])('recognizes %s', async (_, listener, expected) => {
    expect(await probe(await serve(listener))).toMatchObject(expected);
  });

  it('says so when nobody listens, and when the server is silent', async () => {
    const dead = await probe('http://127.0.0.1:1/');
    expect(dead).toMatchObject({ kind: 'failed', usedBytes: 0 });
    const silent = createTcpServer((socket) => socket.on('error', () => {}));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    stops.push(() => silent.close());
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/`;
    const patient = new NodeHttpSource({ ...DEFAULT_HTTP_OPTIONS, idleTimeoutMs: 200 });
    expect(await probe(url, patient)).toMatchObject({ kind: 'failed' });
  });

  it.each<[string, (socket: Socket) => void]>([
    ['a body without length and end', (socket) => chunked(socket, 8_000_000)],
    ['half a header, and silence', (socket) => socket.write('HTTP/1.1 200 OK\r\nx-a: ')],
    ['a header without end', (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(1e6)}`)],
    ['no HTTP', (socket) => socket.write(Buffer.alloc(1_000_000))],
    ['interim answers without end', (socket) => interim(socket)],
    ['half an answer, and a reset', (socket) => halfAndReset(socket)],
    [
      'an answer and its end',
      (socket) => socket.end('HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n'),
    ],
  ])(
    'charges no less than the origin wrote, and no more than was leased: %s',
    async (_, answer) => {
      const meter = new OriginMeter(systemClock);
      const server = createTcpServer((socket) => {
        meter.watch(socket);
        socket.on('error', () => {});
        socket.once('data', () => answer(socket));
        stops.push(() => socket.destroy());
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      stops.push(() => server.close());
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/f`;
      const { usedBytes } = await probe(
        url,
        new NodeHttpSource({ ...DEFAULT_HTTP_OPTIONS, idleTimeoutMs: 300 }),
      );
      expect(meter.totalBytes).toBeGreaterThan(0);
      expect(usedBytes).toBeGreaterThanOrEqual(meter.totalBytes);
      expect(usedBytes).toBeLessThanOrEqual(MAX_PROBE_BYTES);
    },
  );

  it('speaks TLS, and only to certificates that it trusts', async () => {
    const server = createTlsServer({ key: KEY, cert: CERTIFICATE }, (_, response) => {
      response.writeHead(206, { 'content-range': 'bytes 0-0/7', 'content-length': 1 }).end('x');
    });
    const url = await listen(server, 'https');
    expect(await probe(url)).toMatchObject({ kind: 'failed' });
    const trusting = new NodeHttpSource({ ...DEFAULT_HTTP_OPTIONS, ca: CERTIFICATE });
    const result = await probe(url, trusting);
    expect(result).toMatchObject({ kind: 'file', sizeBytes: 7, ranges: true });
    expect(result.usedBytes).toBeGreaterThan(50);
  });
});
