/** The relays' Deployments at a real API server, from the first need to the end of the last. */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { objectPath, type Resource, resources } from '../kube/paths.ts';
import { OPERATOR_NAMESPACE } from '../testing/adapters/apiServer.ts';
import { leadingControllers, TestCluster } from '../testing/adapters/controllersSetup.ts';
import { FakeDataSide } from '../testing/fakeDataSide.ts';
import { fasterClock } from '../testing/fasterClock.ts';
import { aReport } from '../testing/objects.ts';
import type { Controllers } from './controllers.ts';
import { DOMAIN_LABEL } from './fleet/manifests.ts';

const ZONE = 'topology.kubernetes.io/zone';
const RACK = 'example.com/rack';
const WAIT = { timeout: 15_000, interval: 50 };

interface Deployment {
  metadata: { name: string; uid: string; labels: Record<string, string> };
  spec: {
    replicas: number;
    template: {
      metadata: { labels: Record<string, string> };
      spec: { containers: { image: string }[]; volumes: { name: string }[] };
    };
  };
}

interface Budget {
  metadata: { name: string; ownerReferences: { uid: string }[] };
  spec: { maxUnavailable: number; selector: { matchLabels: Record<string, string> } };
}

let cluster: TestCluster;
let data: FakeDataSide;
let controllers: Controllers;

beforeAll(async () => {
  cluster = await TestCluster.start();
  await cluster.addNode('a-1', { [ZONE]: 'a', [RACK]: 'r-1' });
  await cluster.addNode('a-2', { [ZONE]: 'a', [RACK]: 'r-1' });
  await cluster.addNode('a-3', { [ZONE]: 'a', [RACK]: 'r-2' });
});
beforeEach(async () => {
  data = new FakeDataSide();
  controllers = await leadingControllers({
    client: cluster.api.operator,
    data,
    fleet: { relayIdleSeconds: 1 },
  });
});
afterEach(() => controllers.stop());
afterAll(() => cluster?.api.stop());

const deployments = () => cluster.list<Deployment>(resources.deployments);

async function deploymentsAre(count: number): Promise<Deployment[]> {
  return vi.waitFor(async () => {
    const found = await deployments();
    expect(found).toHaveLength(count);
    return found;
  }, WAIT);
}

/** How many are to run, by domain. */
async function replicasAre(expected: Readonly<Record<string, number>>): Promise<Deployment[]> {
  return vi.waitFor(async () => {
    const found = await deployments();
    const entries = found.map(({ metadata, spec }) => [
      metadata.labels[DOMAIN_LABEL],
      spec.replicas,
    ]);
    expect(Object.fromEntries(entries)).toEqual(expected);
    return found;
  }, WAIT);
}

/** Here no controller of Kubernetes makes pods of a Deployment. */
async function setAvailable(name: string, availableReplicas: number): Promise<void> {
  const path = objectPath(resources.deployments, { namespace: OPERATOR_NAMESPACE, name });
  await cluster.api.admin.request({
    method: 'PATCH',
    path: `${path}/status`,
    contentType: 'application/merge-patch+json',
    body: { status: { replicas: 3, readyReplicas: availableReplicas, availableReplicas } },
  });
}

async function statusSays(name: string, relays: readonly object[]): Promise<void> {
  await vi.waitFor(
    async () => expect((await cluster.read(name)).status?.relays).toEqual(relays),
    WAIT,
  );
}

/** Every node has it. */
async function delivered(name: string, uid: string): Promise<void> {
  await vi.waitFor(() => expect(data.plans.has(uid)).toBe(true), WAIT);
  data.report(
    uid,
    ['a-1', 'a-2', 'a-3'].map((node) => aReport(node, { state: 'ready', verifiedBytes: 1000 })),
  );
  await vi.waitFor(async () => expect((await cluster.ready(name))?.status).toBe('True'), WAIT);
}

/** Every node has it; then it is deleted. */
async function done(name: string, uid: string): Promise<void> {
  await delivered(name, uid);
  data.confirm(uid);
  await cluster.delete(name);
}

async function budgetOf(name: string): Promise<Budget | undefined> {
  const budgets = await cluster.list<Budget>(resources.podDisruptionBudgets);
  return budgets.find((each) => each.metadata.name === name);
}

async function byStranger(
  method: 'PATCH' | 'DELETE',
  resource: Resource,
  name: string,
  body?: object,
): Promise<void> {
  const path = objectPath(resource, { namespace: OPERATOR_NAMESPACE, name });
  const contentType = 'application/merge-patch+json';
  await cluster.api.admin.request({ method, path, contentType, body });
}

describe('relays', () => {
  it('come with a budget for disruptions, are set right when changed, and go when idle', async () => {
    const { metadata } = await cluster.apply('shared', { relays: { nodesPerRelay: 2 } });
    const [relay] = await deploymentsAre(1);
    const { name } = relay!.metadata;
    expect(relay!.spec.replicas).toBe(2);
    await vi.waitFor(async () => {
      const budget = (await budgetOf(name))!;
      expect(budget.spec.maxUnavailable).toBe(1);
      expect(budget.metadata.ownerReferences).toMatchObject([{ uid: relay!.metadata.uid }]);
      expect(relay!.spec.template.metadata.labels).toMatchObject(budget.spec.selector.matchLabels);
    }, WAIT);

    const path = objectPath(resources.deployments, { namespace: OPERATOR_NAMESPACE, name });
    const container = { name: 'relay', image: 'evil:1' };
    await cluster.api.admin.request({
      method: 'PATCH',
      path,
      contentType: 'application/strategic-merge-patch+json',
      body: { spec: { replicas: 0, template: { spec: { containers: [container] } } } },
    });
    await vi.waitFor(async () => {
      const [again] = await deployments();
      expect(again?.spec.replicas).toBe(2);
      expect(again?.spec.template.spec.containers[0]?.image).toBe('relay:1');
    }, WAIT);

    await done('shared', metadata.uid);
    await deploymentsAre(0);
  });

  it("are a distribution's own where it wants that, and shared again when it does not", async () => {
    const { metadata } = await cluster.apply('own', { relays: { dedicated: true } });
    const [own] = await deploymentsAre(1);
    const label = { 'sluice.dev/dedicated-to': metadata.uid };
    expect(own!.spec.template.metadata.labels).toMatchObject(label);
    await vi.waitFor(() => expect(data.plans.get(metadata.uid)?.dedicatedRelays).toBe(true), WAIT);
    await cluster.edit('own', { relays: { dedicated: false } });
    await vi.waitFor(async () => {
      const [shared, ...more] = await deployments();
      expect(more).toEqual([]);
      expect(shared?.metadata.name).not.toBe(own!.metadata.name);
      expect(shared?.spec.template.metadata.labels).not.toMatchObject(label);
    }, WAIT);
    await done('own', metadata.uid);
    await deploymentsAre(0);
  });

  it('are as many, and of the domains, that an edit says; the status tells of each domain', async () => {
    const { metadata } = await cluster.apply('edited', { relays: { nodesPerRelay: 3 } });
    await replicasAre({ a: 1 });
    await statusSays('edited', [{ domain: 'a', desired: 1, available: 0 }]);
    await cluster.edit('edited', { relays: { nodesPerRelay: 1 } });
    const [ofZone] = await replicasAre({ a: 3 });
    await setAvailable(ofZone!.metadata.name, 2);
    await statusSays('edited', [{ domain: 'a', desired: 3, available: 2 }]);
    await cluster.edit('edited', { relays: { nodesPerRelay: 2 } });
    await replicasAre({ a: 2 });

    await cluster.edit('edited', { relays: { topologyKey: RACK } });
    // Those of the zone go: nobody needs them any more.
    const ofRacks = await replicasAre({ 'r-1': 1, 'r-2': 1 });
    const first = ofRacks.find((each) => each.metadata.labels[DOMAIN_LABEL] === 'r-1')!;
    await setAvailable(first.metadata.name, 1);
    await statusSays('edited', [
      { domain: 'r-1', desired: 1, available: 1 },
      { domain: 'r-2', desired: 1, available: 0 },
    ]);
    expect(data.plans.get(metadata.uid)?.nodes).toMatchObject([
      { name: 'a-1', domain: 'r-1' },
      { name: 'a-2', domain: 'r-1' },
      { name: 'a-3', domain: 'r-2' },
    ]);
    await done('edited', metadata.uid);
    await deploymentsAre(0);
  });

  it('are told of as gone when they are, also where everything is delivered', async () => {
    const { metadata } = await cluster.apply('settled');
    const [relay] = await deploymentsAre(1);
    await setAvailable(relay!.metadata.name, 1);
    await statusSays('settled', [{ domain: 'a', desired: 1, available: 1 }]);
    await delivered('settled', metadata.uid);
    await deploymentsAre(0);
    await statusSays('settled', [{ domain: 'a', desired: 0, available: 0 }]);
    await done('settled', metadata.uid);
  });

  it('are brought back when a stranger deletes them, and the agents, too', async () => {
    const { metadata } = await cluster.apply('deleted', { relays: { nodesPerRelay: 2 } });
    const [first] = await deploymentsAre(1);
    const { name } = first!.metadata;
    for (const resource of [resources.deployments, resources.daemonSets]) {
      const [before] = await cluster.list<Deployment>(resource);
      await byStranger('DELETE', resource, before!.metadata.name);
      await vi.waitFor(async () => {
        const [again] = await cluster.list<Deployment>(resource);
        expect(again?.metadata.name).toBe(before!.metadata.name);
        expect(again?.metadata.uid).not.toBe(before!.metadata.uid);
        expect(again?.spec).toEqual(before!.spec);
      }, WAIT);
    }
    // Else it would go with the one that was deleted.
    await vi.waitFor(async () => {
      const [relay] = await deployments();
      const budget = await budgetOf(name);
      expect(budget?.metadata.ownerReferences).toMatchObject([{ uid: relay?.metadata.uid }]);
    }, WAIT);
    await done('deleted', metadata.uid);
    await deploymentsAre(0);
  });

  it('are set right, and the agents, too, when what a stranger put there cannot be beside ours', async () => {
    const { metadata } = await cluster.apply('beside');
    await deploymentsAre(1);
    const theirs = { name: 'token', emptyDir: {} };
    for (const resource of [resources.deployments, resources.daemonSets]) {
      const [before] = await cluster.list<Deployment>(resource);
      const { name, uid } = before!.metadata;
      const ours = before!.spec.template.spec.volumes;
      const volumes = ours.map((each) => (each.name === theirs.name ? theirs : each));
      await byStranger('PATCH', resource, name, { spec: { template: { spec: { volumes } } } });
      await vi.waitFor(async () => {
        const [again] = await cluster.list<Deployment>(resource);
        expect(again?.metadata.uid).toBe(uid);
        expect(again?.spec).toEqual(before!.spec);
      }, WAIT);
    }
    await done('beside', metadata.uid);
    await deploymentsAre(0);
  });

  it('have their budget back when a stranger edits or deletes it', async () => {
    await controllers.stop();
    // Nobody watches budgets: they are applied again every ten minutes, which take two seconds here.
    controllers = await leadingControllers({
      client: cluster.api.operator,
      data,
      fleet: { relayIdleSeconds: 1 },
      clock: fasterClock(systemClock, 300),
    });
    const { metadata } = await cluster.apply('budgeted');
    const [relay] = await deploymentsAre(1);
    const { name } = relay!.metadata;
    const budgetIsOurs = () =>
      vi.waitFor(async () => {
        const budget = await budgetOf(name);
        expect(budget?.spec).toMatchObject({ maxUnavailable: 1 });
        expect(budget?.spec).not.toHaveProperty('minAvailable');
      }, WAIT);
    await budgetIsOurs();
    const edits = [{ maxUnavailable: 0 }, { maxUnavailable: null, minAvailable: '100%' }];
    for (const spec of edits) {
      await byStranger('PATCH', resources.podDisruptionBudgets, name, { spec });
      await budgetIsOurs();
    }
    await byStranger('DELETE', resources.podDisruptionBudgets, name);
    await budgetIsOurs();
    await done('budgeted', metadata.uid);
    await deploymentsAre(0);
  });

  it('lose what strangers add to them, and so do the agents; a restart goes on', async () => {
    const { metadata } = await cluster.apply('added');
    await deploymentsAre(1);
    const restarted = { 'kubectl.kubernetes.io/restartedAt': '2026-01-01T00:00:00Z' };
    const affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'never', operator: 'Exists' }] }],
        },
      },
    };
    for (const resource of [resources.deployments, resources.daemonSets]) {
      const [before] = await cluster.list<Deployment>(resource);
      const { name } = before!.metadata;
      const [own] = before!.spec.template.spec.containers as { name?: string }[];
      const pods = {
        hostPID: true,
        affinity,
        containers: [
          { name: own!.name, env: [{ name: 'EVIL', value: '1' }] },
          { name: 'evil', image: 'evil:1' },
        ],
      };
      const path = objectPath(resource, { namespace: OPERATOR_NAMESPACE, name });
      await cluster.api.admin.request({
        method: 'PATCH',
        path,
        query: { fieldManager: 'kubectl-edit' },
        contentType: 'application/strategic-merge-patch+json',
        body: {
          spec: {
            ...(resource === resources.deployments && { paused: true }),
            template: { metadata: { annotations: restarted }, spec: pods },
          },
        },
      });
      await vi.waitFor(async () => {
        const [again] = await cluster.list<Deployment>(resource);
        const { annotations, ...kept } = again!.spec.template.metadata as {
          annotations?: object;
          labels: Record<string, string>;
        };
        expect(annotations).toMatchObject(restarted);
        const { annotations: _none, ...first } = before!.spec.template.metadata as object & {
          annotations?: object;
        };
        const template = { ...again!.spec.template, metadata: kept };
        const was = { ...before!.spec.template, metadata: first };
        expect({ ...again!.spec, template }).toEqual({ ...before!.spec, template: was });
      }, WAIT);
    }
    await done('added', metadata.uid);
    await deploymentsAre(0);
  });
});
