import { describe, expect, it } from 'vitest';
import { aRecord, aSpec } from '../testing/objects.ts';
import {
  type DistributionInput,
  decideDistribution,
  hasItsPath,
  needsSource,
} from './distribution.ts';

function input(overrides: Partial<DistributionInput> = {}): DistributionInput {
  return {
    uid: 'uid-1',
    name: 'llama',
    createdAt: '2026-01-01T00:00:00Z',
    deleting: false,
    spec: aSpec(),
    neighbours: [],
    record: aRecord(),
    sourceChanged: false,
    wrongMirrors: [],
    failure: undefined,
    nodes: [],
    refusal: undefined,
    ...overrides,
  };
}

const REFUSAL = { reason: 'NamespaceNotAllowed', message: 'it does not' } as const;
const NOWHERE = 'https://h:99999/f';

function neighbour(path: string, createdAt: string, uid = 'uid-0') {
  return { uid, name: 'other', path, createdAt };
}

describe('what a distribution needs next', () => {
  it.each<[string, Partial<DistributionInput>, string]>([
    ['serves a known source', {}, 'serve'],
    ['asks the origin when there is no epoch', { record: undefined }, 'resolve'],
    [
      'asks again when the url was edited',
      { spec: aSpec({ source: { url: 'http://origin.example.com/other.bin' } }) },
      'resolve',
    ],
    [
      'asks again when a digest was added',
      { spec: aSpec({ source: { digest: `sha256:${'a'.repeat(64)}` } }) },
      'resolve',
    ],
    [
      'asks again when files were named',
      { spec: aSpec({ source: { url: 'http://origin.example.com/', files: [{ path: 'a' }] } }) },
      'resolve',
    ],
    [
      'holds files that cannot be one folder',
      {
        spec: aSpec({
          source: {
            url: 'http://origin.example.com/',
            files: [{ path: 'a' }, { path: 'a/b' }],
          },
        }),
      },
      'hold',
    ],
    ['asks again when a puller saw another version', { sourceChanged: true }, 'resolve'],
    ['asks again when a mirror gave other bytes', { wrongMirrors: ['http://m/f'] }, 'resolve'],
    [
      'serves when mirrors were edited',
      { spec: aSpec({ source: { mirrors: ['http://m/f'] } }) },
      'serve',
    ],
    ['holds what its Origin does not serve', { record: undefined, refusal: REFUSAL }, 'hold'],
    [
      'holds another version that its Origin does not serve',
      { sourceChanged: true, refusal: REFUSAL },
      'hold',
    ],
    ['serves what is known of an Origin that refuses it now', { refusal: REFUSAL }, 'serve'],
    ['suspends', { spec: aSpec({ suspend: true }) }, 'suspend'],
    [
      'suspends whatever its source is',
      { spec: aSpec({ suspend: true, source: { url: NOWHERE } }) },
      'suspend',
    ],
    [
      'suspends whatever its Origin says',
      { spec: aSpec({ suspend: true }), record: undefined, refusal: REFUSAL },
      'suspend',
    ],
    [
      'asks nobody while suspended',
      { spec: aSpec({ suspend: true }), record: undefined },
      'suspend',
    ],
    ['removes what is deleted, whatever else', { deleting: true, record: undefined }, 'remove'],
    [
      'holds a folder at a port that cannot be',
      { spec: aSpec({ source: { url: 'https://h:99999/', files: [{ path: 'a' }] } }) },
      'hold',
    ],
    [
      'holds a URL at port 0',
      { spec: aSpec({ source: { url: 'http://origin.example.com:0/a' } }) },
      'hold',
    ],
    [
      'holds a URL without a file name',
      { spec: aSpec({ source: { url: 'http://origin.example.com/a/%2e%2e' } }) },
      'hold',
    ],
  ])('%s', (_name, overrides, action) => {
    expect(decideDistribution(input(overrides)).action).toBe(action);
  });

  it.each([
    ['the same path', 'model'],
    ['a path inside', 'model/7b'],
  ])('holds the younger of two with %s', (_name, path) => {
    const older = neighbour(path, '2025-12-31T23:59:59Z');
    const verdict = decideDistribution(input({ neighbours: [older] }));
    expect(verdict).toMatchObject({ action: 'hold', problem: { reason: 'PathConflict' } });
    const younger = neighbour(path, '2026-01-01T00:00:01Z');
    expect(decideDistribution(input({ neighbours: [younger] })).action).toBe('serve');
  });

  it('lets the smaller uid have the path when both were made in the same second', () => {
    const createdAt = '2026-01-01T00:00:00Z';
    const smaller = neighbour('model', createdAt, 'uid-0');
    const larger = neighbour('model', createdAt, 'uid-2');
    expect(decideDistribution(input({ neighbours: [smaller] })).action).toBe('hold');
    expect(decideDistribution(input({ neighbours: [larger] })).action).toBe('serve');
  });

  it('does not take a common beginning of a name for a common folder', () => {
    const older = neighbour('model-b', '2025-01-01T00:00:00Z');
    expect(decideDistribution(input({ neighbours: [older] })).action).toBe('serve');
  });

  it('goes on serving the epoch before while a new source is asked', () => {
    const record = aRecord();
    const spec = aSpec({ source: { url: 'http://origin.example.com/other.bin' } });
    expect(decideDistribution(input({ record, spec }))).toEqual({
      action: 'resolve',
      serve: record,
    });
  });

  it('says with what it serves that its Origin refuses it', () => {
    const problem = { reason: 'NamespaceNotAllowed', kind: 'stall' };
    const verdict = decideDistribution(input({ refusal: REFUSAL }));
    expect(verdict).toMatchObject({ action: 'serve', refusal: problem });
    expect(decideDistribution(input())).not.toHaveProperty('refusal');
  });

  it.each<[string, Partial<DistributionInput>, string]>([
    ['a source that is none', { spec: aSpec({ source: { url: NOWHERE } }) }, 'InvalidSource'],
    [
      'a source that its Origin refuses',
      {
        spec: aSpec({ source: { url: 'http://origin.example.com/other.bin' } }),
        refusal: REFUSAL,
      },
      'NamespaceNotAllowed',
    ],
  ])('goes on serving the epoch before under %s', (_name, overrides, reason) => {
    const record = aRecord();
    const verdict = decideDistribution(input({ record, ...overrides }));
    expect(verdict).toMatchObject({ action: 'hold', problem: { reason }, serve: record });
    expect(hasItsPath(verdict)).toBe(true);
  });

  it('serves nothing at the path of another one, but for the end of its transfers', () => {
    const neighbours = [neighbour('model', '2025-12-31T23:59:59Z')];
    const verdict = decideDistribution(input({ neighbours }));
    expect(verdict).toMatchObject({ action: 'hold', serve: undefined });
    expect(hasItsPath(verdict)).toBe(false);
    const suspended = decideDistribution(input({ neighbours, spec: aSpec({ suspend: true }) }));
    expect(suspended).toMatchObject({ action: 'hold', serve: aRecord() });
  });

  it('needs nothing of the origin once it knows the source', () => {
    expect(needsSource(input())).toBe(false);
    expect(needsSource(input({ record: aRecord({ unproven: true }) }))).toBe(true);
  });
});
