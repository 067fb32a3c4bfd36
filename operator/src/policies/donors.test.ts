import { describe, expect, it } from 'vitest';
import type { EpochFile, EpochRecord } from '../controllers/dataSide.ts';
import { aRecord } from '../testing/objects.ts';
import { giftOf } from './donors.ts';

const MIB = 1024 * 1024;
const PIECE = 262_144;
const hex = (digit: string) => digit.repeat(64);
const A = hex('a');
const B = hex('b');

const file = (path: string, sha256: string | undefined, sizeBytes = MIB, etag = '"v1"') => ({
  path,
  sizeBytes,
  ...(sha256 !== undefined && { sha256 }),
  validator: { etag },
});

const URL_OF_ONE = 'https://cdn.example.com/file.bin';
const URL_OF_SET = 'https://cdn.example.com/set/';

function one(overrides: Partial<EpochRecord> = {}, of: Partial<EpochFile> = {}): EpochRecord {
  const files = [{ ...file('file.bin', A), ...of }];
  return aRecord({ url: URL_OF_ONE, files, ...overrides });
}

const set = (files: readonly EpochFile[], overrides: Partial<EpochRecord> = {}) =>
  aRecord({ url: URL_OF_SET, files, ...overrides });

const other = (overrides: Partial<EpochRecord> = {}, of: Partial<EpochFile> = {}) =>
  one({ uid: 'uid-2', namespace: 'other', ...overrides }, of);

describe('a version in the same namespace', () => {
  it('gives what has the same digest, whatever its source and its name', () => {
    const donor = one({ url: 'https://elsewhere.example.com/x' }, { path: 'x', validator: {} });
    expect(giftOf(donor, one())).toEqual({
      extents: [{ first: 0, count: 4 }],
      sizeBytes: MIB,
      isReadThrough: false,
    });
  });

  it('gives the files of a set that it has, and no others', () => {
    const files = [
      file('1', A, 3 * PIECE + 1),
      file('2', undefined, PIECE),
      file('3', hex('0'), 0),
      file('4', hex('c'), 10),
      file('5', B, PIECE),
      file('6', B, PIECE),
    ];
    const donor = set([file('x', A, 3 * PIECE + 1), file('y', B, PIECE), file('z', hex('0'), 0)]);
    expect(giftOf(donor, set(files))).toEqual({
      extents: [
        { first: 0, count: 4 },
        { first: 6, count: 2 },
      ],
      sizeBytes: 5 * PIECE + 1,
      isReadThrough: false,
    });
  });

  it('is read through where its pieces are cut otherwise', () => {
    const gift = giftOf(one({ pieceLengthBytes: 2 * PIECE }), one());
    expect(gift).toMatchObject({ isReadThrough: true, extents: [{ first: 0, count: 4 }] });
  });

  it.each<[string, EpochRecord, EpochRecord]>([
    ['another digest', one({}, { sha256: B }), one()],
    ['no digest', one({}, { sha256: undefined as unknown as string }), one()],
    ['nothing that names a digest', one(), set([file('1', undefined)])],
    ['another length', one({}, { sizeBytes: 1 }), one()],
  ])('gives nothing when there is %s', (_case, donor, epoch) => {
    expect(giftOf(donor, epoch)).toBeUndefined();
  });
});

describe('a version in another namespace', () => {
  const gives = (donor: EpochRecord, epoch: EpochRecord) => giftOf(donor, epoch) !== undefined;

  it('gives its bytes when the same URL answered both alike', () => {
    expect(gives(other(), one())).toBe(true);
    const whole = set([file('1', A), file('2', B)]);
    expect(gives(set([file('1', A)], { namespace: 'other' }), whole)).toBe(true);
    const inSet = other({ url: `${URL_OF_SET}1` }, { path: '1' });
    expect(gives(inSet, whole)).toBe(true);
  });

  it('takes the validator of the source for the one file of an old epoch', () => {
    const old = (namespace: string, etag: string) =>
      aRecord({
        namespace,
        url: URL_OF_ONE,
        files: [{ path: 'file.bin', sizeBytes: MIB, sha256: A }],
        source: { sizeBytes: MIB, validator: { etag }, ranges: true },
      });
    expect(gives(old('other', '"v1"'), one())).toBe(true);
    expect(gives(old('other', '"v2"'), one())).toBe(false);
  });

  it.each<[string, EpochRecord, EpochRecord]>([
    ['its source says another validator', other({}, { validator: { etag: '"v2"' } }), one()],
    ['the validator is weak', weak(other), weak(one)],
    ['there is a date alone', dated(other), dated(one)],
    ['there is no validator', bare(other), bare(one)],
    ['the URL is another one', other({ url: 'https://evil.example.com/file.bin' }), one()],
    ['the URL has another query', other({ url: `${URL_OF_ONE}?key=1` }), one()],
    ['the host has another port', other({ url: 'https://cdn.example.com:444/file.bin' }), one()],
    ['it was adopted and its source not asked since', other(), one({ unproven: true })],
    [
      'one file of the set may not be read',
      set([file('1', A), file('2', B)], { namespace: 'other' }),
      set([file('1', A), file('2', B, MIB, '"mine"')]),
    ],
    [
      'a file claims the digest of another one',
      set([file('public', A), file('secret', B)], { namespace: 'other' }),
      set([file('public', A), file('mine', B)]),
    ],
  ])('gives nothing when %s', (_case, donor, epoch) => {
    expect(gives(donor, epoch)).toBe(false);
  });
});

type Maker = (overrides?: Partial<EpochRecord>, of?: Partial<EpochFile>) => EpochRecord;

function weak(make: Maker): EpochRecord {
  return make({}, { validator: { etag: 'W/"v1"' } });
}

function dated(make: Maker): EpochRecord {
  return make({}, { validator: { lastModified: 'Thu, 01 Jan 2026 00:00:00 GMT' } });
}

function bare(make: Maker): EpochRecord {
  return make({}, { validator: {} });
}
