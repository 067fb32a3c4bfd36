import { describe, expect, it } from 'vitest';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { aSpec } from '../../testing/objects.ts';
import { volumeManifests } from './volumeManifests.ts';

const TERMS = [
  { matchExpressions: [{ key: 'gpu', operator: 'Exists' as const }] },
  { matchExpressions: [{ key: 'cores', operator: 'Gt' as const, values: ['63'] }] },
];

function volumeOf(target: Partial<Distribution['spec']['target']>) {
  const spec = aSpec();
  const distribution = {
    metadata: { namespace: 'ml', name: 'llama', uid: 'uid' },
    spec: { ...spec, target: { ...spec.target, persistentVolumeClaim: 'model', ...target } },
  } as Distribution;
  return volumeManifests(distribution, '/data')?.volume(undefined);
}

describe('the nodes of a volume', () => {
  it('are all where the target names none', () => {
    expect(volumeOf({})).not.toHaveProperty('spec.nodeAffinity');
  });

  it('are those of the terms, of which each has all of nodeSelector, too', () => {
    const pool = { key: 'pool', operator: 'In', values: ['a'] };
    const target = { nodeSelector: { pool: 'a' }, affinity: { nodeSelectorTerms: TERMS } };
    expect(volumeOf(target)).toHaveProperty('spec.nodeAffinity.required.nodeSelectorTerms', [
      { matchExpressions: [pool, ...(TERMS[0]?.matchExpressions ?? [])] },
      { matchExpressions: [pool, ...(TERMS[1]?.matchExpressions ?? [])] },
    ]);
  });

  it('change with its name: nothing of a volume can be edited', () => {
    const name = (target: object) => (volumeOf(target) as { metadata: { name: string } }).metadata;
    expect(name({ affinity: { nodeSelectorTerms: TERMS } })).not.toEqual(name({}));
  });
});
