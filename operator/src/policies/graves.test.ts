import { describe, expect, it } from 'vitest';
import type { EpochRecord, Grave, ResolvedSource } from '../controllers/dataSide.ts';
import { aProgress, aRecord, aReport } from '../testing/objects.ts';
import {
  decideGrave,
  FORGET_AFTER_MS,
  failedItsDigest,
  type GraveInput,
  heritageOf,
  isInTheWay,
  isProven,
  isSameSource,
  type Place,
} from './graves.ts';

const HEX = 'ab'.repeat(32);

function aGrave(overrides: Partial<Grave> = {}): Grave {
  const owner = { uid: 'u', owner: 'u', namespace: 'ml' };
  return { ...owner, path: 'models/a', dueAtMs: 1_000, condemned: false, ...overrides };
}

function placeOf(namespace: string, path: string): Place {
  return { namespace, namespaceUid: `uid-of-${namespace}`, path };
}

const OURS = { namespaceUid: 'uid-of-ml' };
const OTHERS = { namespaceUid: 'uid-of-one-before' };

describe('the files of a deleted Distribution', () => {
  it.each<[string, Partial<GraveInput>, ReturnType<typeof decideGrave>]>([
    ['stay while the grace lasts', { nowMs: 999 }, 'wait'],
    ['go when it is over', { nowMs: 1_000 }, 'tell'],
    ['go at once when their namespace is gone', { nowMs: 999, namespace: undefined }, 'tell'],
    [
      'go at once when it is going',
      { nowMs: 999, namespace: { uid: 'uid-of-ml', isGoing: true } },
      'tell',
    ],
    [
      'go at once when another one has its name',
      { nowMs: 999, namespace: { uid: 'uid-of-another', isGoing: false } },
      'tell',
    ],
    [
      'stay where nobody has noted of which it was',
      { nowMs: 999, grave: aGrave(), namespace: undefined },
      'wait',
    ],
    ['are told once', { isTold: true, missing: ['n1'] }, 'wait'],
    [
      'are waited for while nobody knows who has them',
      { isTold: true, missing: undefined },
      'wait',
    ],
    ['are forgotten when every node has said so', { isTold: true, missing: [] }, 'forget'],
    [
      'are forgotten with the node that had them',
      { isTold: true, missing: ['gone'], nodeExists: () => false },
      'forget',
    ],
    [
      'are orphans in a week, where the agent does not come',
      { isTold: true, missing: ['n1'], nowMs: 1_001 + FORGET_AFTER_MS },
      'forget',
    ],
    [
      'are told of by a new leader, however late',
      { isTold: false, nowMs: 1_001 + FORGET_AFTER_MS },
      'tell',
    ],
  ])('%s', (_name, overrides, expected) => {
    const input: GraveInput = {
      grave: aGrave(OURS),
      namespace: { uid: 'uid-of-ml', isGoing: false },
      nowMs: 2_000,
      isTold: false,
      missing: undefined,
      nodeExists: () => true,
      ...overrides,
    };
    expect(decideGrave(input)).toBe(expected);
  });

  it.each<[string, Grave[], string | undefined]>([
    ['of the same namespace and path', [aGrave()], 'u'],
    ['of another namespace', [aGrave({ namespace: 'web' })], undefined],
    ['of the same namespace by its uid', [aGrave(OURS)], 'u'],
    ['of another namespace of the same name', [aGrave(OTHERS)], undefined],
    ['of another path', [aGrave({ path: 'models' })], undefined],
    ['that are going', [aGrave({ condemned: true })], undefined],
    ['the newest of several', [aGrave(), aGrave({ uid: 'v', dueAtMs: 2_000 })], 'v'],
  ])('are adopted: %s', (_name, graves, uid) => {
    expect(heritageOf(graves, placeOf('ml', 'models/a'))?.uid).toBe(uid);
  });

  it.each<[string, string, boolean]>([
    ['ml', 'models', true],
    ['ml', 'models/a/b', true],
    ['ml', 'models/a', false],
    ['ml', 'models/ab', false],
    ['web', 'models', false],
  ])('are in the way in %s of %s: %s', (namespace, path, expected) => {
    expect(isInTheWay(aGrave(), placeOf(namespace, path))).toBe(expected);
  });

  it('are in the way of the very path where nobody may adopt them', () => {
    expect(isInTheWay(aGrave(OTHERS), placeOf('ml', 'models/a'))).toBe(true);
    expect(isInTheWay(aGrave(OURS), placeOf('ml', 'models/a'))).toBe(false);
    const unseen = { ...placeOf('ml', 'models/a'), namespaceUid: undefined };
    expect(isInTheWay(aGrave(OURS), unseen)).toBe(true);
    expect(heritageOf([aGrave(OURS)], unseen)).toBeUndefined();
    expect(isInTheWay(aGrave({ condemned: true }), placeOf('ml', 'models/a'))).toBe(true);
    expect(isInTheWay(aGrave({ condemned: true }), placeOf('web', 'models/a'))).toBe(false);
  });
});

describe('files that failed their digest', () => {
  const wrong = aReport('n1', {
    state: 'failed',
    error: { reason: 'DigestMismatch', message: 'because' },
  });
  it.each([
    ['are those of a node that found them wrong', [wrong, aReport('n2')], 1, true],
    [
      'are not those that another node has proved',
      [wrong, aReport('n2', { state: 'ready' })],
      1,
      false,
    ],
    ['are not those of another epoch', [wrong], 2, false],
    ['are not those of which nobody knows', [], 1, false],
  ])('%s', (_name, nodes, epoch, expected) => {
    expect(failedItsDigest(aRecord({ epoch: 1 }), aProgress(nodes, { epoch }))).toBe(expected);
  });
});

describe('adopted files', () => {
  it.each<[string, Partial<EpochRecord>, boolean]>([
    ['with a digest', { files: [{ path: 'f', sizeBytes: 1, sha256: HEX }] }, true],
    ['without one', { files: [{ path: 'f', sizeBytes: 1 }] }, false],
    [
      'one of them without',
      {
        files: [
          { path: 'f', sizeBytes: 1, sha256: HEX },
          { path: 'g', sizeBytes: 1 },
        ],
      },
      false,
    ],
    ['that are empty', { files: [{ path: 'f', sizeBytes: 0 }] }, true],
  ])('%s are the right ones without asking: %s', (_name, overrides, expected) => {
    expect(isProven(aRecord({ ...overrides, unproven: true }))).toBe(expected);
    expect(isProven(aRecord(overrides))).toBe(true);
  });

  it.each<[string, Partial<ResolvedSource>, boolean]>([
    ['the same version', {}, true],
    ['another ETag', { validator: { etag: '"v2"' } }, false],
    ['no ETag any more', { validator: {} }, false],
    ['another size', { sizeBytes: 1_001 }, false],
  ])('are what the origin has: %s', (_name, overrides, expected) => {
    const source = { sizeBytes: 1_000, validator: { etag: '"v1"' }, ranges: true, ...overrides };
    expect(isSameSource(aRecord(), source)).toBe(expected);
  });

  it('of a set are what the origin has when each of them is', () => {
    const files = [
      { path: 'a', sizeBytes: 1, validator: { lastModified: 'now' } },
      { path: 'empty', sizeBytes: 0, validator: {} },
    ];
    const source = { sizeBytes: 1, validator: {}, ranges: true, files };
    expect(isSameSource(aRecord({ files }), source)).toBe(true);
    const other = [{ ...files[0]!, validator: { lastModified: 'later' } }, files[1]!];
    expect(isSameSource(aRecord({ files: other }), source)).toBe(false);
    expect(isSameSource(aRecord({ files: files.slice(1) }), source)).toBe(false);
  });

  it('whose origin names no version are fetched anew', () => {
    const record = aRecord({ source: { sizeBytes: 1_000, validator: {}, ranges: true } });
    const source = { sizeBytes: 1_000, validator: {}, ranges: true };
    expect(isSameSource(record, source)).toBe(false);
  });
});
