/** Origins whose heads are no good, or that refuse. */
import { afterEach, describe, expect, it } from 'vitest';
import { type Case, HostilePulls, problemsOf } from '../testing/adapters/hostilePulls.ts';
import {
  answering,
  EARLY_HINTS,
  endless,
  honest,
  saying,
  sometimes,
  withHead,
} from '../testing/originScripts.ts';
import type { Script } from '../testing/rawOrigin.ts';

const pulls = new HostilePulls();
afterEach(() => pulls.stop());

const interim =
  (text: string): Script =>
  async (request, wire, body) => {
    await wire.send(text);
    await honest(request, wire, body);
  };

const CASES: readonly Case[] = [
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
    // Cut off, its connection may be open there still: the next lease goes on.
    ends: 'SourceUnavailable',
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
    expect(await problemsOf(await pulls.pull(each), each)).toEqual([]);
  });

  it('asks to be left alone for a second is left alone for it', async () => {
    const askedAtMs: number[] = [];
    const busy = answering('429 Too Many Requests', { 'Retry-After': '1' });
    const { end } = await pulls.pull({
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
