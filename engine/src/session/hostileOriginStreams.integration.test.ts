/** Origins that honour no ranges, and what they may do wrong besides. */
import { afterEach, describe, expect, it } from 'vitest';
import { BODY, type Case, HostilePulls, problemsOf } from '../testing/adapters/hostilePulls.ts';
import {
  answering,
  chunked,
  cutAt,
  EARLY_HINTS,
  endless,
  honest,
  saying,
  sometimes,
  withHead,
} from '../testing/originScripts.ts';

const pulls = new HostilePulls();
afterEach(() => pulls.stop());

const CASES: readonly Case[] = [
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
  it.each(CASES)('$origin: $ends', async (each) => {
    const run = await pulls.pull(each, { ranges: false });
    // What the kernels hold is the lease's reserve: the rate holds for what is read.
    const judged = { ...each, unasked: true as const };
    expect(await problemsOf({ ...run, connections: 1 }, judged)).toEqual([]);
  });
});
