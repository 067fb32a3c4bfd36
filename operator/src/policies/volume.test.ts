import { describe, expect, it } from 'vitest';
import {
  type ClaimFacts,
  decideVolume,
  type VolumeFacts,
  type VolumeInput,
  volumeCondition,
} from './volume.ts';

const WANTED = { claimName: 'model', volumeName: 'v1' };
const volume = (overrides: Partial<VolumeFacts> = {}): VolumeFacts => ({
  name: 'v1',
  uid: 'uid-v1',
  deleting: false,
  claimUid: 'uid-model',
  isOwn: true,
  ...overrides,
});
const claim = (overrides: Partial<ClaimFacts> = {}): ClaimFacts => ({
  name: 'model',
  namespace: 'prod',
  uid: 'uid-model',
  isOwn: true,
  deleting: false,
  volumeName: 'v1',
  bound: true,
  ...overrides,
});

/** What is done, in short. */
function act(input: VolumeInput): string {
  const verdict = decideVolume(input);
  const { createVolume } = verdict;
  return [
    ...verdict.deleteClaims.map(({ name }) => `-claim ${name}`),
    ...verdict.deleteVolumes.map(({ name }) => `-volume ${name}`),
    ...(createVolume
      ? [`+volume${createVolume.claimUid ? ` for ${createVolume.claimUid}` : ''}`]
      : []),
    ...(verdict.createClaim ? ['+claim'] : []),
    verdict.outlook,
  ].join(', ');
}

describe('the volume of a distribution', () => {
  const old = { name: 'v0', uid: 'uid-v0' };
  const copy = claim({ namespace: 'prod-copy', uid: 'uid-copy', isOwn: false, bound: false });
  it.each<[string, VolumeInput, string]>([
    [
      'is not made when none is wanted',
      { namespace: 'prod', wanted: undefined, volumes: [], claims: [] },
      'none',
    ],
    [
      'is made with its claim',
      { namespace: 'prod', wanted: WANTED, volumes: [], claims: [] },
      '+volume, +claim, pending',
    ],
    [
      'waits for its claim to be bound',
      {
        namespace: 'prod',
        wanted: WANTED,
        volumes: [volume({ claimUid: undefined })],
        claims: [claim({ bound: false })],
      },
      'pending',
    ],
    [
      'is left as it is when it is right',
      { namespace: 'prod', wanted: WANTED, volumes: [volume()], claims: [claim()] },
      'bound',
    ],
    [
      'goes with its claim when none is wanted any more',
      { namespace: 'prod', wanted: undefined, volumes: [volume()], claims: [claim()] },
      '-claim model, -volume v1, none',
    ],
    [
      'is asked to go once only',
      {
        namespace: 'prod',
        wanted: undefined,
        volumes: [volume({ deleting: true })],
        claims: [claim({ deleting: true })],
      },
      'none',
    ],
    [
      'of another claim name is made beside the old one, which goes',
      {
        namespace: 'prod',
        wanted: { claimName: 'other', volumeName: 'v2' },
        volumes: [volume()],
        claims: [claim()],
      },
      '-claim model, -volume v1, +volume, +claim, pending',
    ],
    [
      'for other nodes waits until the claim that pods may use is deleted',
      {
        namespace: 'prod',
        wanted: { ...WANTED, volumeName: 'v2' },
        volumes: [volume()],
        claims: [claim()],
      },
      'outdated',
    ],
    [
      'for other nodes waits while that claim is still in use',
      {
        namespace: 'prod',
        wanted: { ...WANTED, volumeName: 'v2' },
        volumes: [volume()],
        claims: [claim({ deleting: true })],
      },
      'terminating',
    ],
    [
      'for other nodes is made when that claim is gone',
      {
        namespace: 'prod',
        wanted: { ...WANTED, volumeName: 'v2' },
        volumes: [volume()],
        claims: [],
      },
      '-volume v1, +volume, +claim, pending',
    ],
    [
      'is made anew when its claim was deleted by hand',
      { namespace: 'prod', wanted: WANTED, volumes: [volume()], claims: [] },
      '-volume v1, pending',
    ],
    [
      'is not made while the one before is going',
      { namespace: 'prod', wanted: WANTED, volumes: [volume({ deleting: true })], claims: [] },
      'pending',
    ],
    [
      'that was deleted by hand comes back for the claim that lost it',
      { namespace: 'prod', wanted: WANTED, volumes: [], claims: [claim({ bound: false })] },
      '+volume for uid-model, pending',
    ],
    [
      'of an earlier time goes',
      { namespace: 'prod', wanted: WANTED, volumes: [volume(), volume(old)], claims: [claim()] },
      '-volume v0, bound',
    ],
    [
      'is not taken for that of a claim that was copied to another namespace',
      { namespace: 'prod', wanted: WANTED, volumes: [volume()], claims: [copy, claim()] },
      'bound',
    ],
    [
      'is made with its claim though a copy of that is there',
      { namespace: 'prod', wanted: WANTED, volumes: [], claims: [copy] },
      '+volume, +claim, pending',
    ],
    [
      'goes with its claim and without the copies',
      {
        namespace: 'prod',
        wanted: undefined,
        volumes: [volume({ name: 'copied', isOwn: false }), volume()],
        claims: [copy, { ...copy, isOwn: true }, claim()],
      },
      '-claim model, -volume v1, none',
    ],
    [
      'leaves a claim that somebody has labelled where it is',
      {
        namespace: 'prod',
        wanted: WANTED,
        volumes: [volume()],
        claims: [claim({ name: 'theirs', isOwn: false }), claim()],
      },
      'bound',
    ],
    [
      'is known by its owner when nobody knows the namespace any more',
      { namespace: undefined, wanted: undefined, volumes: [], claims: [copy, claim()] },
      '-claim model, none',
    ],
  ])('%s', (_what, input, expected) => {
    expect(act(input)).toBe(expected);
  });

  it('says what stands in its way, with the field and the remedy', () => {
    const conflict = volumeCondition('model', 'pending', { kind: 'conflict' });
    expect(conflict).toMatchObject({ status: 'False', reason: 'ClaimConflict' });
    expect(conflict.message).toBe(
      "spec.target.persistentVolumeClaim: the claim 'model' exists and is not of this Distribution, so it is left alone; delete that claim, or choose another name",
    );
    const refused = volumeCondition('model', 'pending', { kind: 'refused', message: 'quota' });
    expect(refused).toMatchObject({ reason: 'ClaimRefused' });
    expect(refused.message).toContain('quota');
    const reasons = (['bound', 'pending', 'terminating', 'outdated'] as const).map(
      (outlook) => volumeCondition('model', outlook, undefined).reason,
    );
    expect(reasons).toEqual(['VolumeBound', 'VolumePending', 'ClaimTerminating', 'VolumeOutdated']);
  });
});
