import { beforeEach, describe, expect, it } from 'vitest';
import type { NodeObject } from '../../kube/objects.ts';
import { aRecord, aSpec } from '../../testing/objects.ts';
import { planOf } from './plan.ts';
import { Targets } from './targets.ts';

const ZONE = 'topology.kubernetes.io/zone';

let nodes: Map<string, NodeObject>;
let targets: Targets;

beforeEach(() => {
  nodes = new Map();
  targets = new Targets({ list: () => nodes.values() });
  change('n2', { labels: { gpu: 'no' } });
  change('n1', { labels: { gpu: 'yes', [ZONE]: 'a' } });
});

/** Undefined: it is gone. */
function change(
  name: string,
  node:
    | { labels?: Record<string, string>; uid?: string; ready?: string; cordoned?: true }
    | undefined,
): void {
  const before = nodes.get(name);
  nodes.delete(name);
  if (node !== undefined) {
    const { labels = before?.metadata.labels ?? {}, uid = 'uid', ready = 'True', cordoned } = node;
    nodes.set(name, {
      metadata: { name, uid, resourceVersion: String(Math.random()), labels },
      ...(cordoned && { spec: { unschedulable: true } }),
      status: { conditions: [{ type: 'Ready', status: ready }] },
    });
  }
  targets.nodeChanged(nodes.get(name), before);
}

const specOf = (nodeSelector: Record<string, string> = {}, topologyKey = ZONE) =>
  aSpec({
    target: { nodeSelector },
    relays: { topologyKey, nodesPerRelay: 200, dedicated: false },
  });
const namesOf = (nodeSelector?: Record<string, string>) =>
  targets.of(specOf(nodeSelector)).map(({ name }) => name);

describe('the nodes that a distribution is for', () => {
  it('are those of its own selector and topology key, by name', () => {
    expect(namesOf()).toEqual(['n1', 'n2']);
    expect(namesOf({ gpu: 'yes' })).toEqual(['n1']);
    expect(targets.of(specOf()).map(({ domain }) => domain)).toEqual(['a', 'default']);
    const byGpu = targets.of(specOf({}, 'gpu'));
    expect(byGpu.map(({ domain }) => domain)).toEqual(['yes', 'no']);
    const affinity = {
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'gpu', operator: 'In', values: ['no'] }] }],
    } as const;
    const spec = aSpec({ target: { affinity } as never });
    expect(targets.of(spec).map(({ name }) => name)).toEqual(['n2']);
  });

  it('are looked for once as long as no node has changed, whoever asks', () => {
    const before = targets.of(specOf());
    change('n1', {});
    expect(targets.of(specOf())).toBe(before);
    expect(targets.of({ ...specOf(), priority: 7 })).toBe(before);
  });

  it('are in its plan in the same list as long as no node has changed, those that are waited for first', () => {
    const nodesInPlan = () => planOf(specOf(), aRecord(), {}, targets.of(specOf())).nodes;
    const before = nodesInPlan();
    expect(before.map(({ name }) => name)).toEqual(['n1', 'n2']);
    expect(nodesInPlan()).toBe(before);
    change('n1', { cordoned: true });
    expect(nodesInPlan().map(({ name }) => name)).toEqual(['n2', 'n1']);
  });

  it.each<[string, Parameters<typeof change>[1], object]>([
    ['has another label', { labels: { gpu: 'no' } }, []],
    ['is in another domain', { labels: { gpu: 'yes', [ZONE]: 'b' } }, [{ domain: 'b' }]],
    ['was installed anew', { uid: 'new' }, [{ uid: 'new' }]],
    ['is cordoned', { cordoned: true }, [{ unschedulable: true }]],
    ['is not ready', { ready: 'False' }, [{ notReady: true }]],
    ['is gone', undefined, []],
  ])('are others when one of them %s', (_what, node, expected) => {
    expect(namesOf({ gpu: 'yes' })).toEqual(['n1']);
    change('n1', node);
    expect(targets.of(specOf({ gpu: 'yes' }))).toMatchObject(expected);
  });

  it('are others when one comes, or shows the files that the selector names', () => {
    const label = { 'ml.dist.sluice.dev/base': '1' };
    expect([namesOf(), namesOf(label)]).toEqual([['n1', 'n2'], []]);
    change('n0', { labels: label });
    expect([namesOf(), namesOf(label)]).toEqual([['n0', 'n1', 'n2'], ['n0']]);
  });
});
