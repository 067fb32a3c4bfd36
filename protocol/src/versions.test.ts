import { describe, expect, it } from 'vitest';
import { commonVersion, PROTOCOL_VERSIONS, upgradeRemedy } from './versions.ts';

describe('the version that both sides speak', () => {
  it.each<[readonly number[], readonly number[], number | undefined]>([
    [[1], [1], 1],
    [[1, 2], [1], 1],
    [[1], [1, 2], 1],
    [[1, 2], [2, 1], 2],
    [[1, 2], [2, 3], 2],
    [[1, 2], [3, 4], undefined],
    [[2, 3], [1], undefined],
  ])('of %j and %j is %j', (ours, theirs, common) => {
    expect(commonVersion(ours, theirs)).toBe(common);
    expect(commonVersion(theirs, ours)).toBe(common);
  });

  it('is missing because of the side whose newest one is older', () => {
    expect(upgradeRemedy([1, 2], [3, 4])).toBe('upgrade the operator');
    expect(upgradeRemedy([2, 3], [1])).toBe('upgrade relays and agents');
  });

  it('is one of two at most: a release speaks its own and that of the release before', () => {
    const [newest = 0, ...older] = PROTOCOL_VERSIONS.toReversed();
    expect(older).toEqual(newest === 1 ? [] : [newest - 1]);
  });
});
