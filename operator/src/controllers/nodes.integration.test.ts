/** Nodes that come and go, as the controllers meet them at a real API server. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { leadingControllers, TestCluster } from '../testing/adapters/controllersSetup.ts';
import { FakeDataSide } from '../testing/fakeDataSide.ts';
import { aReport } from '../testing/objects.ts';
import type { Controllers } from './controllers.ts';
import type { DistributionPlan } from './dataSide.ts';

const WAIT = { timeout: 15_000, interval: 50 };

let cluster: TestCluster;
let data: FakeDataSide;
let controllers: Controllers;

beforeAll(async () => {
  cluster = await TestCluster.start();
});
beforeEach(async () => {
  data = new FakeDataSide();
  controllers = await leadingControllers({ client: cluster.api.operator, data });
});
afterEach(() => controllers.stop());
afterAll(() => cluster?.api.stop());

const ready = (name: string) => aReport(name, { state: 'ready', verifiedBytes: 1000 });
const namesOf = (plan: DistributionPlan | undefined) => plan?.nodes.map(({ name }) => name);

async function planIs(uid: string, names: readonly string[]): Promise<DistributionPlan> {
  await vi.waitFor(() => expect(namesOf(data.plans.get(uid))).toEqual(names), WAIT);
  return data.plans.get(uid)!;
}

async function isReady(name: string, expected: string): Promise<string> {
  return vi.waitFor(async () => {
    const condition = await cluster.ready(name);
    expect(`${condition?.status}/${condition?.reason}`).toBe(expected);
    return condition!.message;
  }, WAIT);
}

describe('a Distribution', () => {
  it('is for the nodes of its affinity, as they are now and as it is edited', async () => {
    await cluster.addNode('gpu-2', { test: 'affinity', gpus: '2' });
    await cluster.addNode('gpu-8', { test: 'affinity', gpus: '8' });
    const atLeast = (gpus: string) => ({
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'gpus', operator: 'Gt', values: [gpus] }] }],
    });
    const target = { path: 'affinity', nodeSelector: { test: 'affinity' } };
    const { metadata } = await cluster.apply('affinity', {
      target: { ...target, affinity: atLeast('4') },
    });
    await planIs(metadata.uid, ['gpu-8']);
    await cluster.edit('affinity', { target: { affinity: atLeast('1') } });
    await planIs(metadata.uid, ['gpu-2', 'gpu-8']);
    await cluster.patchNode('gpu-2', { metadata: { labels: { gpus: null } } });
    const { leaving } = await planIs(metadata.uid, ['gpu-8']);
    expect(leaving?.deleteFiles).toBe(true);
    await cluster.edit('affinity', { deletionPolicy: 'Retain' });
    await vi.waitFor(
      () => expect(data.plans.get(metadata.uid)?.leaving?.deleteFiles).toBe(false),
      WAIT,
    );
  });

  it('is not Ready for nodes that are cordoned or not ready, and says which they are', async () => {
    for (const name of ['wait-1', 'wait-2', 'wait-3']) {
      await cluster.addNode(name, { test: 'waits' });
    }
    const { metadata } = await cluster.apply('waits', {
      target: { path: 'waits', nodeSelector: { test: 'waits' } },
    });
    await planIs(metadata.uid, ['wait-1', 'wait-2', 'wait-3']);
    data.report(metadata.uid, [ready('wait-1'), aReport('wait-2'), aReport('wait-3')]);
    await isReady('waits', 'False/Transferring');
    await cluster.patchNode('wait-2', { spec: { unschedulable: true } });
    await cluster.setReady('wait-3', 'Unknown');
    const message = await isReady('waits', 'True/Delivered');
    expect(message).toContain('wait-2 (cordoned), wait-3 (not ready)');
    // They are served all the same, after the others where few may transfer at once.
    await planIs(metadata.uid, ['wait-1', 'wait-2', 'wait-3']);
  });

  it('serves nodes that join and forgets those that are deleted, and stays Ready', async () => {
    await cluster.addNode('stays', { test: 'joins' });
    const { metadata } = await cluster.apply('joins', {
      target: { path: 'joins', nodeSelector: { test: 'joins' } },
    });
    await planIs(metadata.uid, ['stays']);
    data.report(metadata.uid, [ready('stays')]);
    await isReady('joins', 'True/Delivered');
    await cluster.addNode('joined', { test: 'joins' });
    const { nodes } = await planIs(metadata.uid, ['joined', 'stays']);
    const late = { state: 'pending', connected: false } as const;
    data.report(metadata.uid, [aReport('joined', late), ready('stays')]);
    await vi.waitFor(async () => {
      const condition = await cluster.ready('joins');
      expect(condition?.status).toBe('True');
      expect(condition?.message).toContain('NoAgent: no agent runs on joined');
    }, WAIT);
    // Installed anew: the same name, another object.
    await cluster.deleteNode('joined');
    await vi.waitFor(() => expect([...data.nodes]).not.toContain('joined'), WAIT);
    await planIs(metadata.uid, ['stays']);
    await cluster.addNode('joined', { test: 'joins' });
    const again = await planIs(metadata.uid, ['joined', 'stays']);
    expect(again.nodes[0]?.uid).not.toBe(nodes[0]?.uid);
    expect(again.nodes[1]?.uid).toBe(nodes[1]?.uid);
  });

  it('limits how many transfer at once, and how many may be missing, as it is edited', async () => {
    for (const name of ['wave-1', 'wave-2', 'wave-3', 'wave-4']) {
      await cluster.addNode(name, { test: 'waves' });
    }
    const { metadata } = await cluster.apply('waves', {
      target: { path: 'waves', nodeSelector: { test: 'waves' } },
      delivery: { maxParallelNodes: '30%' },
    });
    const most = () => data.plans.get(metadata.uid)?.maxParallelNodes;
    await vi.waitFor(() => expect(most()).toBe(2), WAIT);
    await cluster.edit('waves', { delivery: { maxParallelNodes: 1 } });
    await vi.waitFor(() => expect(most()).toBe(1), WAIT);
    await cluster.edit('waves', { delivery: { maxParallelNodes: '100%' } });
    await vi.waitFor(() => expect(most()).toBeUndefined(), WAIT);
    data.report(metadata.uid, [ready('wave-1'), ready('wave-2'), ready('wave-3')]);
    await isReady('waves', 'False/Transferring');
    await cluster.edit('waves', { delivery: { maxUnready: '25%' } });
    await isReady('waves', 'True/Delivered');
  });
});

describe('the API server refuses', () => {
  const affinity = (operator: string, values?: readonly string[]) => ({
    target: {
      path: 'refused',
      affinity: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'k', operator, values }] }] },
    },
  });

  it.each([
    ['In without values', affinity('In'), /'In' has no values for its operator; name/],
    ['NotIn with none', affinity('NotIn', []), /'NotIn' has no values/],
    ['Exists with values', affinity('Exists', ['a']), /'Exists' takes no values; leave/],
    ['Gt with a word', affinity('Gt', ['many']), /'Gt' compares with one whole number; write/],
    ['Lt with two numbers', affinity('Lt', ['1', '2']), /'Lt' compares with one whole number/],
    ['an operator of its own', affinity('Like', ['a']), /Unsupported value: "Like"/],
    [
      'no term',
      { target: { path: 'refused', affinity: { nodeSelectorTerms: [] } } },
      /nodeSelectorTerms.*at least 1/,
    ],
    [
      'no node at once',
      { delivery: { maxParallelNodes: 0 } },
      /spec\.delivery\.maxParallelNodes: '0' is not a number of nodes; write/,
    ],
    ['a share of nothing', { delivery: { maxParallelNodes: '0%' } }, /'0%' is not a number/],
    ['more than all', { delivery: { maxUnready: '101%' } }, /maxUnready: '101%' is not a number/],
    ['fewer than none', { delivery: { maxUnready: -1 } }, /maxUnready: '-1' is not a number/],
  ])('%s', async (_name, spec, message) => {
    await expect(cluster.apply('refused', spec)).rejects.toThrow(message);
  });

  it.each([
    ['an absolute number', 5],
    ['one in quotes', '5'],
    ['a share', '33%'],
    ['all', '100%'],
  ])('nothing of %s', async (name, count) => {
    const spec = { delivery: { maxParallelNodes: count, maxUnready: count }, suspend: true };
    const made = await cluster.apply(name.replaceAll(' ', '-'), spec);
    expect(made.spec.delivery.maxParallelNodes).toBe(count);
    await cluster.delete(made.metadata.name);
  });
});
