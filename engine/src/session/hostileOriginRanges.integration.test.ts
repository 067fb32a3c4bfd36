/** Origins that send other bytes than were asked for, or those of another file. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { BODY, type Case, HostilePulls, problemsOf } from '../testing/adapters/hostilePulls.ts';
import {
  answering,
  chunked,
  endless,
  headOf,
  honest,
  sometimes,
  withHead,
} from '../testing/originScripts.ts';
import type { Script } from '../testing/rawOrigin.ts';

const pulls = new HostilePulls();
afterEach(() => pulls.stop());

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

const twice: Script = async (request, wire, body) => {
  await honest(request, wire, body);
  await sleep(30);
  await wire.send('and another thing');
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

const CASES: readonly Case[] = [
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
];

describe('a pull in ranges from an origin that', () => {
  it.each(CASES)('$origin: $ends', async (each) => {
    expect(await problemsOf(await pulls.pull(each), each)).toEqual([]);
  });

  it('sends what no answer names is seen by the sockets alone', async () => {
    const { meters, target } = await pulls.pull({ script: chunked(16) });
    expect(target.bytes.equals(BODY)).toBe(true);
    // Of each 16 bytes two times CRLF and the length: `10`.
    expect(meters.socketBytes / meters.answeredBytes).toBeGreaterThan(1.2);
    expect(meters.pieceBytes).toBe(BODY.length);
  });
});
