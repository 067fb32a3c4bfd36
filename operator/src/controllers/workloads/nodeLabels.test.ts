import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import type { KubeRequest } from '../../kube/client.ts';
import type { NodeObject } from '../../kube/objects.ts';
import { FakeClock, settle, steadyRandom } from '../../testing/fakeClock.ts';
import { aProgress, aReport, aSpec } from '../../testing/objects.ts';
import { labelKey } from './labelKey.ts';
import { NodeLabelController, type NodeLabelControllerDependencies } from './nodeLabels.ts';

const NAMESPACE = 'ml';

let clock: FakeClock;
let nodes: Map<string, NodeObject>;
let distributions: Map<string, Distribution>;
let written: Map<string, object>;
let controller: NodeLabelController;

beforeEach(() => {
  clock = new FakeClock();
  nodes = new Map();
  distributions = new Map();
  written = new Map();
  const dependencies = {
    client: {
      request: async ({ path, body }: KubeRequest) => {
        const name = path.split('/').at(-1)!;
        written.set(name, (body as { metadata: { labels: object } }).metadata.labels);
        return nodes.get(name);
      },
    },
    nodes: { get: (name: string) => nodes.get(name), list: () => nodes.values() },
    distributions: {
      get: (key: string) => distributions.get(key),
      indexed: (namespace: string) => (namespace === NAMESPACE ? distributions.values() : []),
    },
    clock,
    random: steadyRandom,
    logger: createLogger({ silent: true }),
  };
  controller = new NodeLabelController(dependencies as unknown as NodeLabelControllerDependencies);
  controller.start();
});

afterEach(() => controller.stop());

const keyOf = (name: string) => labelKey({ namespace: NAMESPACE, name });

function addNode(name: string, ...labels: readonly string[]): void {
  const metadata = {
    name,
    uid: `uid-${name}`,
    resourceVersion: '1',
    labels: Object.fromEntries(labels.map((label) => [label, '1'])),
  };
  nodes.set(name, { metadata });
}

/** Spoken of by the leader, unless a test says otherwise. */
function addDistribution(name: string, { nodeLabel = true, isSpokenOf = true } = {}): void {
  const metadata = { namespace: NAMESPACE, name, uid: `uid-${name}` };
  const object = { metadata, spec: aSpec({ target: { nodeLabel } }) } as unknown as Distribution;
  distributions.set(`${NAMESPACE}/${name}`, object);
  const progress = aProgress([aReport('n1', { state: 'ready' })]);
  if (isSpokenOf) controller.want(object, progress);
}

describe('the first look of a new leader at all labels', () => {
  it('comes when every distribution was spoken of', async () => {
    addNode('n1', keyOf('gone'));
    await clock.advance(120_000);
    expect(written.size).toBe(0);
    controller.primed();
    await clock.advance(1_000);
    expect(written).toEqual(new Map([['n1', { [keyOf('gone')]: null }]]));
  });

  it('takes away what nobody wants, also of names that are too long for a label', async () => {
    const long = (end: string) => `${'x'.repeat(80)}${end}`;
    addDistribution(long('stays'));
    addDistribution(long('wants-none'), { nodeLabel: false });
    addDistribution(long('unspoken-of'), { isSpokenOf: false });
    addDistribution('unwanted', { nodeLabel: false });
    addDistribution('stays');
    const unwanted = [long('wants-none'), long('gone'), 'unwanted', 'gone'].map(keyOf);
    const others = [long('stays'), long('unspoken-of'), 'stays'].map(keyOf);
    addNode('n1', ...unwanted, ...others, 'gone.dist.sluice.dev/stays', 'kubernetes.io/os');
    controller.primed();
    await clock.advance(1_000);
    const gone = [...unwanted, 'gone.dist.sluice.dev/stays'].map((key) => [key, null]);
    expect(written).toEqual(new Map([['n1', Object.fromEntries(gone)]]));
  });

  it('lets others have their turn', async () => {
    for (let node = 0; node < 1000; node += 1) addNode(`n${node}`, keyOf('gone'));
    let looks = 0;
    const get = distributions.get.bind(distributions);
    distributions.get = (key) => {
      looks += 1;
      return get(key);
    };
    controller.primed();
    await settle();
    expect(looks).toBeGreaterThan(0);
    expect(looks).toBeLessThanOrEqual(100);
    await clock.advance(0);
    expect(looks).toBeGreaterThanOrEqual(1000);
  });
});
