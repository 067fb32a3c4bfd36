import { expect, it } from 'vitest';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { aProgress, aRecord, aReport, aSpec } from '../../testing/objects.ts';
import { gather } from './gather.ts';

const metadata = { uid: 'uid-1', name: 'llama', creationTimestamp: '2026-01-01T00:00:00Z' };
const distribution = { metadata, spec: aSpec() } as unknown as Distribution;
const ready = aReport('n1', { state: 'ready' });

it.each([
  ['while nodes wait, is over when', {}, [ready, aReport('n2')], true],
  ['that every node has stays though', {}, [ready], false],
  [
    'that is completed stays, whoever joins later, though',
    { completedAt: 'then' },
    [ready, aReport('n2')],
    false,
  ],
])('an epoch %s the source has changed', (_case, overrides, nodes, isOver) => {
  const { sourceChanged } = gather({
    distribution,
    neighbours: [],
    nodes: [],
    record: aRecord(overrides),
    progress: aProgress(nodes, { sourceChanged: true }),
    failure: undefined,
    refusal: undefined,
  });
  expect(sourceChanged).toBe(isOver);
});
