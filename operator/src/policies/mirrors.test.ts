import { describe, expect, it } from 'vitest';
import type { EpochRecord } from '../controllers/dataSide.ts';
import { aProgress, aRecord, aReport } from '../testing/objects.ts';
import {
  headersFor,
  keptMirrors,
  mirrorProblem,
  mirrorsAvailable,
  planMirrors,
  standingsOf,
  wrongMirrors,
} from './mirrors.ts';

const A = 'https://a.example.com/file.bin';
const B = 'http://b.example.com/copies/x?key=secret';
const SECRET = { authorization: 'Bearer secret' };

const mirrorAt = (url: string) => ({ id: url, url, validators: [{ etag: '"m"' }] });

const record = (overrides: Partial<EpochRecord> = {}) =>
  aRecord({ mirrors: [mirrorAt(A), mirrorAt(B)], ...overrides });

describe('the mirrors of a plan', () => {
  it('are those that are known, in the order of the spec', () => {
    const urls = (wanted: string[], of = record()) =>
      planMirrors(wanted, of, {}).map(({ url }) => url);
    expect(urls([B, 'http://unknown/f', A])).toEqual([B, A]);
    expect(urls([A])).toEqual([A]);
    expect(urls([])).toEqual([]);
    expect(urls([A, B], aRecord())).toEqual([]);
  });

  it('are none where the source honours no ranges', () => {
    const source = { sizeBytes: 1000, validator: {}, ranges: false };
    expect(planMirrors([A], record({ source }), {})).toEqual([]);
  });

  it.each<[string, string, boolean]>([
    ['https://cdn.example.com/a', 'https://cdn.example.com/b/c', true],
    ['https://cdn.example.com/a', 'https://cdn.example.com:443/b', true],
    ['https://cdn.example.com/a', 'https://cdn.example.com:444/b', false],
    ['https://cdn.example.com/a', 'http://cdn.example.com/b', false],
    ['https://cdn.example.com/a', 'https://cdn.example.com.evil.net/b', false],
  ])('of %s gets its credentials at %s: %s', (source, mirror, gets) => {
    expect(headersFor(mirror, source, SECRET)).toEqual(gets ? SECRET : {});
  });

  it('are forgotten when the spec names them no more, and may be named again', () => {
    const of = record({ droppedMirrors: ['http://dropped/f'] });
    expect(keptMirrors([B, 'http://dropped/f'], of)).toEqual({
      mirrors: [mirrorAt(B)],
      droppedMirrors: ['http://dropped/f'],
    });
    expect(keptMirrors([], of)).toEqual({ mirrors: [], droppedMirrors: [] });
  });
});

describe('what a mirror says of its files', () => {
  const { files } = aRecord();
  const found = { sizeBytes: 1000, validator: { etag: '"other"' }, ranges: true };

  it('does when they have the same lengths, whatever their validators are', () => {
    expect(mirrorProblem(A, { files }, found)).toBeUndefined();
    const set = [
      { path: 'a', sizeBytes: 0 },
      { path: 'b', sizeBytes: 5 },
    ];
    const answer = { ...found, files: [...set].reverse() };
    expect(mirrorProblem(A, { files: set }, answer)).toBeUndefined();
  });

  it.each<[string, object, RegExp]>([
    [
      'another length',
      { sizeBytes: 999 },
      /'http:\/\/b.example.com\/copies\/x' has 999 bytes of 'file.bin', and spec.source.url has 1000; put/,
    ],
    ['no ranges', { ranges: false }, /does not honour byte ranges; remove it/],
    ['another length of a file', { files: [{ path: 'file.bin', sizeBytes: 1 }] }, /has 1 bytes/],
    ['not all files', { files: [] }, /has no bytes of 'file.bin'/],
  ])('does not do with %s', (_case, change, message) => {
    const problem = mirrorProblem(B, { files }, { ...found, ...change });
    expect(problem).toMatch(message);
    expect(problem).not.toContain('secret');
  });
});

describe('mirrors that may have given wrong bytes', () => {
  const failed = (reason: string) =>
    aReport('n1', { state: 'failed', error: { reason, message: '' } });
  const suspectMirrors = [A, B];

  it.each<[string, Parameters<typeof wrongMirrors>[0], readonly string[]]>([
    [
      'a node has not the digest',
      aProgress([failed('DigestMismatch')], { suspectMirrors }),
      [A, B],
    ],
    ['pullers were revoked', aProgress([], { suspectMirrors, isDisputed: true }), [A, B]],
    ['a disk is full', aProgress([failed('DiskFull')], { suspectMirrors }), []],
    ['none was used', aProgress([failed('DigestMismatch')]), []],
    ['nothing is known', undefined, []],
  ])('are known when %s', (_case, progress, wrong) => {
    expect(wrongMirrors(progress)).toEqual(wrong);
  });
});

describe('the condition of mirrors', () => {
  const of = (
    urls: readonly string[],
    known: Partial<EpochRecord> = {},
    problems: Record<string, string> = {},
    failures: Record<string, string> = {},
  ) => {
    const all = aRecord(known);
    const said = Object.entries(failures).map(
      ([url, message]) => [url, { reason: 'SourceUnavailable', message }] as const,
    );
    const standings = standingsOf(urls, all, new Map(Object.entries(problems)), new Map(said));
    return mirrorsAvailable(standings, all);
  };
  const known = { mirrors: [mirrorAt(A), mirrorAt(B)] };

  it('is there where the spec names some', () => {
    expect(of([])).toBeUndefined();
    expect(of([A, B], known)).toMatchObject({ status: 'True', reason: 'MirrorsReady' });
  });

  it.each<[string, ReturnType<typeof of>, object]>([
    ['one is asked', of([A], {}), { status: 'Unknown', reason: 'Resolving' }],
    [
      'one has other files',
      of([A, B], { mirrors: [mirrorAt(A)] }, { [B]: 'other length' }),
      {
        status: 'False',
        reason: 'MirrorUnavailable',
        message: 'http://b.example.com/copies/x: other length',
      },
    ],
    [
      'one gives nothing',
      of([A, B], known, {}, { [A]: 'no answer' }),
      { status: 'False', reason: 'MirrorUnavailable', message: `${A}: no answer` },
    ],
    [
      'one was dropped',
      of([A, B], { ...known, droppedMirrors: [A] }, {}, { [B]: 'no answer' }),
      { status: 'False', reason: 'MirrorDropped', message: expect.stringContaining(A) },
    ],
    [
      'the source honours no ranges',
      of([A], { source: { sizeBytes: 1, validator: {}, ranges: false } }),
      { status: 'False', reason: 'MirrorUnavailable' },
    ],
  ])('says so when %s', (_case, value, expected) => {
    expect(value).toMatchObject(expected);
    expect(value?.message).not.toContain('secret');
  });
});
