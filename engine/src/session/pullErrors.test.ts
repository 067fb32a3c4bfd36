/** What a user reads when a pull fails: of which file it is said. */
import { describe, expect, it } from 'vitest';
import type { HttpSource } from '../ports/httpSource.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { DroppingTarget } from '../testing/droppingTarget.ts';
import { createPuller } from './originPuller.ts';

const PIECE = 65_536;
const FILES = ['weights/a.bin', 'weights/b%20c.bin'];

interface Told {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Gives what it is asked for, but for the last file. */
function originOf(last: string, ranges: boolean, told: Told): HttpSource {
  return {
    connection: (server) => ({
      unprovenEnds: 0,
      unaskedBytes: 0,
      close: async () => {},
      request: async ({ url = server, range = { start: 0, end: PIECE }, onHead, onChunk }) => {
        const isRight = !url.pathname.endsWith(last);
        const { start, end } = range;
        const whole = ranges
          ? { status: 206, headers: { 'content-range': `bytes ${start}-${end - 1}/${PIECE}` } }
          : { status: 200, headers: { 'content-length': `${PIECE}` } };
        const head = { ...(isRight ? whole : told), headerBytes: 100, timeToHeadMs: 1 };
        onHead(head);
        if (isRight) await onChunk(new Uint8Array(end - start));
        const bodyBytes = isRight ? end - start : 0;
        return { head, bodyBytes, wireBytes: 100 + bodyBytes };
      },
    }),
  };
}

/** The message with which a pull of these files fails. */
async function failureOf(paths: readonly string[], ranges: boolean, told: Told): Promise<string> {
  const clock = new VirtualClock();
  const target = new DroppingTarget(() => PIECE);
  const layout = {
    pieceSizeBytes: () => PIECE,
    locate: (piece: number) => ({ fileIndex: piece, offset: 0 }),
  };
  const files = paths.map((path) => ({
    url: `http://origin/set/${path}?signature=secret`,
    sizeBytes: PIECE,
    validator: { etag: '"one"' },
  }));
  const grant = {
    rateBytesPerSecond: 10_000_000,
    slackBytes: 5_000_000,
    connections: 1,
    maxBytes: 50_000_000,
    ttlMs: 600_000,
    extents: [{ first: 0, count: paths.length }],
  };
  const options = { files, headers: {}, ranges, pieceLengthBytes: PIECE };
  const http = originOf(paths.at(-1) ?? '', ranges, told);
  const puller = createPuller(grant, 0, options, { http, clock, layout, target });
  puller.start();
  let end: Awaited<typeof puller.ended> | undefined;
  void puller.ended.then((ended) => {
    end = ended;
  });
  await clock.run(() => end !== undefined, 120_000);
  await puller.close();
  return end?.kind === 'failed' ? end.error.message : `it ended: ${end?.kind}`;
}

describe.each([
  ['ranges', true],
  ['whole files', false],
])('a pull of %s', (_, ranges) => {
  it.each<[string, Told, string]>([
    ['is not there', { status: 404, headers: {} }, 'the origin answers 404'],
    [
      'has changed',
      { status: ranges ? 206 : 200, headers: { etag: '"two"' } },
      `the file's ETag is "two" now, not "one"`,
    ],
    ['fails again and again', { status: 503, headers: {} }, 'the origin answers 503'],
  ])('says which file of a set %s, without what its URL may carry', async (_, told, message) => {
    expect(await failureOf(FILES, ranges, told)).toBe(`/set/weights/b%20c.bin: ${message}`);
    expect(await failureOf(FILES.slice(1), ranges, told)).toBe(message);
  });
});
