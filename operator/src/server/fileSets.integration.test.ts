/** A set's files, and the list that names them, asked of an origin on loopback. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NodeHttpSource } from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LeaseError } from '../quota/leases.ts';
import { fetchChecksums } from './checksumFetch.ts';
import { probeSet } from './setProbe.ts';
import type { Asker } from './sourceAsking.ts';

const NEVER = new AbortController().signal;
const HEX = 'ab'.repeat(32);

let server: Server;
let url: string;
let answers: Map<string, (request: IncomingMessage, response: ServerResponse) => void>;
let sockets: number;
let open: number;
let mostOpen: number;
/** Of each lease, in the order of their ends. */
let used: number[];

beforeEach(async () => {
  answers = new Map();
  used = [];
  sockets = 0;
  open = 0;
  mostOpen = 0;
  server = createServer((request, response) => {
    const answer = answers.get(decodeURIComponent(request.url ?? ''));
    if (answer === undefined) response.writeHead(404).end();
    else answer(request, response);
  });
  server.on('connection', (socket) => {
    sockets += 1;
    open += 1;
    mostOpen = Math.max(mostOpen, open);
    socket.on('close', () => {
      open -= 1;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/set/`;
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

/** With room for so many leases at a time. */
function askerFor(room: number): Asker {
  let taken = 0;
  return {
    url,
    headers: { 'x-key': 'k' },
    async charge(_maxBytes, signal, use) {
      while (taken >= room) {
        signal.throwIfAborted();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      taken += 1;
      try {
        const { result, usedBytes } = await use(NEVER, new NodeHttpSource());
        used.push(usedBytes);
        return result;
      } finally {
        taken -= 1;
      }
    },
  };
}

function put(path: string, body: string | Buffer, headers: Record<string, string> = {}): void {
  const bytes = Buffer.from(body);
  answers.set(`/set/${path}`, (request, response) => {
    const etag = `"${path}"`;
    if (request.headers.range === undefined)
      response.writeHead(200, { etag, ...headers }).end(bytes);
    else if (bytes.length === 0) response.writeHead(416, { 'content-range': 'bytes */0' }).end();
    else {
      const range = { 'content-range': `bytes 0-0/${bytes.length}`, 'content-length': '1' };
      response.writeHead(206, { etag, ...range }).end(bytes.subarray(0, 1));
    }
  });
}

describe('the files of a set', () => {
  it('have each a length and a validator of their own, asked for over one connection', async () => {
    put('a.bin', 'four');
    put('deep/a folder/b#?.bin', 'sixsix');
    put('empty', '');
    const named = [
      { path: 'empty' },
      { path: 'a.bin', sha256: HEX },
      { path: 'deep/a folder/b#?.bin' },
    ];
    expect(await probeSet(askerFor(1), named, NEVER)).toEqual([
      { path: 'empty', sizeBytes: 0, validator: {}, ranges: true },
      { path: 'a.bin', sizeBytes: 4, sha256: HEX, validator: { etag: '"a.bin"' }, ranges: true },
      {
        path: 'deep/a folder/b#?.bin',
        sizeBytes: 6,
        validator: { etag: '"deep/a folder/b#?.bin"' },
        ranges: true,
      },
    ]);
    expect(sockets).toBe(1);
    expect(used).toHaveLength(1);
    expect(used[0]).toBeLessThan(1_500);
  });

  it.each([1, 4])('are as many as leases find room for, %i at a time', async (room) => {
    const named = Array.from({ length: 300 }, (_, at) => ({ path: `file-${at}` }));
    for (const { path } of named) put(path, path);
    const found = await probeSet(askerFor(room), named, NEVER);
    expect(found.map(({ path }) => path)).toEqual(named.map(({ path }) => path));
    expect(mostOpen).toBeLessThanOrEqual(room);
  });

  it('are named when one is missing, or is of another size than the spec says', async () => {
    put('a', 'four');
    const missing = probeSet(askerFor(4), [{ path: 'a' }, { path: 'b/c' }], NEVER);
    await expect(missing).rejects.toMatchObject({
      code: 'HttpStatus',
      httpStatus: 404,
      message: expect.stringContaining("'b/c'"),
    });
    const other = probeSet(askerFor(1), [{ path: 'a', sizeBytes: 5 }], NEVER);
    await expect(other).rejects.toMatchObject({
      code: 'InvalidFiles',
      message: expect.stringContaining("'a' has 4 bytes at the origin, not 5"),
    });
  });

  it('are asked for again when the origin had closed the connection in between', async () => {
    put('a', 'one');
    const once = answers.get('/set/a')!;
    answers.set('/set/a', (request, response) => {
      once(request, response);
      response.once('finish', () => request.socket.end());
    });
    put('b', 'two');
    expect(await probeSet(askerFor(1), [{ path: 'a' }, { path: 'b' }], NEVER)).toHaveLength(2);
    expect(sockets).toBe(2);
  });

  it('are not asked for when there is no room', async () => {
    const full: Asker = {
      ...askerFor(1),
      charge: () => Promise.reject(new LeaseError('NotReady', 'full')),
    };
    await expect(probeSet(full, [{ path: 'a' }], NEVER)).rejects.toMatchObject({ message: 'full' });
    expect(sockets).toBe(0);
  });
});

describe('a list of checksums', () => {
  it('is read once, with the credentials', async () => {
    put('v2/SUMS', `${HEX}  a.bin\n`);
    expect(await fetchChecksums(askerFor(1), 'v2/SUMS', NEVER)).toEqual([
      { path: 'v2/a.bin', sha256: HEX },
    ]);
    expect(sockets).toBe(1);
  });

  it.each<[string, (response: ServerResponse) => void, object]>([
    ['that is missing', (response) => response.writeHead(404).end(), { httpStatus: 404 }],
    [
      'that is elsewhere',
      (response) => response.writeHead(302, { location: 'http://other/SUMS?key=hidden' }).end(),
      { code: 'Redirect', message: expect.not.stringContaining('hidden') },
    ],
    [
      'that says it is too long',
      (response) => response.writeHead(200, { 'content-length': 2 ** 30 }).write('x'),
      { code: 'InvalidFiles', message: expect.stringContaining('is longer than 1048576 bytes') },
    ],
    [
      'without an end',
      (response) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write(Buffer.alloc(262_144, 'a')), 1);
        response.once('close', () => clearInterval(timer));
      },
      { code: 'InvalidFiles', message: expect.stringContaining('is longer than') },
    ],
    [
      'that is no text',
      (response) => response.end(Buffer.from([0xff, 0xfe, 0x00])),
      { code: 'InvalidFiles', message: expect.stringContaining('not text in UTF-8') },
    ],
    [
      'that is compressed',
      (response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
      { code: 'HttpStatus' },
    ],
    ['that breaks off', (response) => response.destroy(), { code: 'Unreachable' }],
  ])('%s is refused, and charged', async (_name, answer, expected) => {
    answers.set('/set/SUMS', (_request, response) => answer(response));
    await expect(fetchChecksums(askerFor(1), 'SUMS', NEVER)).rejects.toMatchObject(expected);
    expect(used).toHaveLength(1);
    expect(used[0]).toBeLessThanOrEqual(1024 * 1024 + 196_608 + 4 * 1024 * 1024);
  });
});
