/** What the operator reads of an origin itself, from a real server on loopback. */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { leafCountOf, pieceHash } from '@sluice/engine/feed/pieceHash.ts';
import { OriginMeter } from '@sluice/engine/testing/originMeter.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { pieceAtOrigin } from './pieceAtOrigin.ts';
import type { ProbeCharger } from './sourceAsking.ts';
import { taskFor } from './work.ts';

const PIECE = 262_144;
const BODY = randomBytes(2 * PIECE + 77);
const ETAG = '"one"';
const never = new AbortController().signal;

let server: Server;
let url: string;
let charged: { maxBytes: number; usedBytes: number }[];
let meter: OriginMeter;
let answer: (request: IncomingMessage, response: ServerResponse) => void;

const charger: ProbeCharger = {
  charge: async ({ maxBytes }, _signal, use) => {
    const { result, usedBytes } = await use(never, () => {});
    charged.push({ maxBytes, usedBytes });
    return result;
  },
};

beforeEach(async () => {
  charged = [];
  meter = new OriginMeter(systemClock);
  answer = inRanges;
  server = createServer((request, response) => answer(request, response));
  server.on('connection', (socket) => meter.watch(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/set/`;
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function inRanges(request: IncomingMessage, response: ServerResponse): void {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  const isGuarded = request.headers['if-match'] === ETAG && request.url === '/set/a%20file';
  const part = BODY.subarray(Number(first), Number(last) + 1);
  response.writeHead(isGuarded ? 206 : 412, {
    etag: ETAG,
    'content-length': part.length,
    'content-range': `bytes ${first}-${last}/${BODY.length}`,
  });
  response.end(part);
}

function taskOf(): Task {
  const files = [
    { path: 'a file', sizeBytes: BODY.length, validator: { etag: ETAG } },
    { path: 'other', sizeBytes: 5, validator: { etag: '"other"' } },
  ];
  const policy = {
    name: 'loopback',
    hosts: ['127.0.0.1'],
    limits: {},
    closeAfterSeconds: 120,
    allowPrivateAddresses: true,
    allowAgentCredentials: false,
  };
  return taskFor(aPlanOf(aRecord({ url, files })), 'relay', policy);
}

describe('a piece at the origin', () => {
  it.each([0, 1, 2])('has the hash of what the origin gives: piece %i', async (piece) => {
    const bytes = BODY.subarray(piece * PIECE, (piece + 1) * PIECE);
    const sizes = { pieceLengthBytes: PIECE, fileSizeBytes: BODY.length, sizeBytes: bytes.length };
    const hash = await pieceAtOrigin(taskOf(), piece, charger, never);
    expect(hash).toBe(pieceHash(bytes, leafCountOf(sizes)).toString('hex'));
    // Every byte was leased, headers included.
    for (const { maxBytes, usedBytes } of charged) expect(usedBytes).toBeLessThanOrEqual(maxBytes);
    const used = charged.reduce((sum, { usedBytes }) => sum + usedBytes, 0);
    expect(used).toBeGreaterThan(bytes.length);
  });

  it.each<[string, typeof answer, object]>([
    ['is another file', (_, response) => response.writeHead(412).end(), { code: 'SourceChanged' }],
    ['gives it all', (_, response) => response.end(BODY), { code: 'RangeIgnored' }],
    [
      'gives more than it says',
      (_, response) => {
        const head = { 'content-range': `bytes 0-131071/${BODY.length}`, etag: ETAG };
        response.writeHead(206, head).end(BODY);
      },
      { message: 'more came than asked' },
    ],
    ['is overloaded', (_, response) => response.writeHead(503).end(), {}],
  ])('is not known when the origin %s', async (_case, how, cause) => {
    answer = how;
    await expect(pieceAtOrigin(taskOf(), 0, charger, never)).rejects.toMatchObject({ cause });
    expect(meter.totalBytes).toBeGreaterThan(0);
    expect(charged.at(-1)?.usedBytes).toBeGreaterThanOrEqual(meter.totalBytes);
  });
});
