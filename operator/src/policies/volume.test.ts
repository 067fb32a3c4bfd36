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
  ...overrides,
});
const claim = (overrides: Partial<ClaimFacts> = {}): ClaimFacts => ({
  name: 'model',
  uid: 'uid-model',
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
  it.each<[string, VolumeInput, string]>([
    ['is not made when none is wanted', { wanted: undefined, volumes: [], claims: [] }, 'none'],
    [
      'is made with its claim',
      { wanted: WANTED, volumes: [], claims: [] },
      '+volume, +claim, pending',
    ],
    [
      'waits for its claim to be bound',
      {
        wanted: WANTED,
        volumes: [volume({ claimUid: undefined })],
        claims: [claim({ bound: false })],
      },
      'pending',
    ],
    [
      'is left as it is when it is right',
      { wanted: WANTED, volumes: [volume()], claims: [claim()] },
      'bound',
    ],
    [
      'goes with its claim when none is wanted any more',
      { wanted: undefined, volumes: [volume()], claims: [claim()] },
      '-claim model, -volume v1, none',
    ],
    [
      'is asked to go once only',
      {
        wanted: undefined,
        volumes: [volume({ deleting: true })],
        claims: [claim({ deleting: true })],
      },
      'none',
    ],
    [
      'of another claim name is made beside the old one, which goes',
      {
        wanted: { claimName: 'other', volumeName: 'v2' },
        volumes: [volume()],
        claims: [claim()],
      },
      '-claim model, -volume v1, +volume, +claim, pending',
    ],
    [
      'for other nodes waits until the claim that pods may use is deleted',
      {
        wanted: { ...WANTED, volumeName: 'v2' },
        volumes: [volume()],
        claims: [claim()],
      },
      'outdated',
    ],
    [
      'for other nodes waits while that claim is still in use',
      {
        wanted: { ...WANTED, volumeName: 'v2' },
        volumes: [volume()],
        claims: [claim({ deleting: true })],
      },
      'terminating',
    ],
    [
      'for other nodes is made when that claim is gone',
      { wanted: { ...WANTED, volumeName: 'v2' }, volumes: [volume()], claims: [] },
      '-volume v1, +volume, +claim, pending',
    ],
    [
      'is made anew when its claim was deleted by hand',
      { wanted: WANTED, volumes: [volume()], claims: [] },
      '-volume v1, pending',
    ],
    [
      'is not made while the one before is going',
      { wanted: WANTED, volumes: [volume({ deleting: true })], claims: [] },
      'pending',
    ],
    [
      'that was deleted by hand comes back for the claim that lost it',
      { wanted: WANTED, volumes: [], claims: [claim({ bound: false })] },
      '+volume for uid-model, pending',
    ],
    [
      'of an earlier time goes',
      { wanted: WANTED, volumes: [volume(), volume(old)], claims: [claim()] },
      '-volume v0, bound',
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
