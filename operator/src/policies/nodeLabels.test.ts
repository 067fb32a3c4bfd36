import { describe, expect, it } from 'vitest';
import { aReport } from '../testing/objects.ts';
import { labelChange, labelChanges, labelCondition, labelWish } from './nodeLabels.ts';

const KEY = 'ml.dist.sluice.dev/llama';
const wish = labelWish(KEY, 2, [
  aReport('shows', { state: 'ready' }),
  aReport('receives', { state: 'transferring' }),
  aReport('failed', { state: 'failed' }),
  aReport('unheard', { state: 'pending' }),
  aReport('away', { state: 'transferring', connected: false }),
]);

describe('the label of a node', () => {
  it.each<[string, string, string | undefined, string | null | undefined]>([
    ['is set when the node shows the file', 'shows', undefined, '2'],
    ['is left as it is when it is right', 'shows', '2', undefined],
    ['moves to the epoch that the node shows now', 'shows', '1', '2'],
    ['goes when the node shows this epoch no more', 'receives', '2', null],
    ['goes when the node has failed to bring it back', 'failed', '2', null],
    ['of the epoch before stays until the newer is there', 'receives', '1', undefined],
    ['is not set before the file is there', 'receives', undefined, undefined],
    ['stays while nobody has heard of the node', 'unheard', '2', undefined],
    ['stays while the agent is away', 'away', '2', undefined],
    ['goes when the node is no target any more', 'other', '1', null],
  ])('%s', (_what, node, value, expected) => {
    expect(labelChange(wish, node, value)).toBe(expected);
  });

  it('of distributions that are gone goes, all in one change, and no others', () => {
    const labels = {
      'kubernetes.io/hostname': 'shows',
      [KEY]: '1',
      'ml.dist.sluice.dev/gone': '4',
      'ml.dist.sluice.dev/unspoken-of': '7',
    };
    const isOrphan = (key: string) => key.endsWith('/gone');
    expect(labelChanges('shows', labels, new Map([[KEY, wish]]), isOrphan)).toEqual({
      [KEY]: '2',
      'ml.dist.sluice.dev/gone': null,
    });
  });

  it('is spoken of in a condition, with the remedy when the operator may not write it', () => {
    expect(labelCondition(KEY, 0)).toMatchObject({ status: 'True', reason: 'NodesLabelled' });
    expect(labelCondition(KEY, 3)).toMatchObject({ status: 'False', reason: 'NodesBeingLabelled' });
    const disabled = labelCondition(KEY, undefined);
    expect(disabled).toMatchObject({ status: 'False', reason: 'NodeLabelsDisabled' });
    expect(disabled.message).toContain('workloads.nodeLabels=true');
  });
});
