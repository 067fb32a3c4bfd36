/** Volumes, claims and labels of nodes on a real API server, with the rights of kube/permissions.ts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import type { KubeClient, KubeRequest } from '../../kube/client.ts';
import type { NodeObject } from '../../kube/objects.ts';
import { listPath, objectPath, type Resource, resources } from '../../kube/paths.ts';
import type { TestApiServer } from '../../testing/adapters/apiServer.ts';
import {
  TestCluster,
  type TestControllersOptions,
  testControllers,
} from '../../testing/adapters/controllersSetup.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { aReport } from '../../testing/objects.ts';
import type { Controllers } from '../controllers.ts';

const WAIT = { timeout: 20_000, interval: 50 };
const NODES = Array.from({ length: 12 }, (_, at) => `node-${at + 1}`);

interface Volume {
  metadata: { name: string; uid: string };
  spec: {
    hostPath: object;
    nodeAffinity?: object;
    claimRef: { name: string; uid?: string };
    accessModes: string[];
  };
}
interface Claim {
  metadata: {
    name: string;
    uid: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: { uid: string }[];
  };
  spec: { volumeName?: string };
}

describe('for the pods that use the files', () => {
  let cluster: TestCluster;
  let server: TestApiServer;
  let data: FakeDataSide;
  let controllers: Controllers;
  /** Nodes that were written to, in order. */
  let patched: { node: string; atMs: number }[];

  beforeAll(async () => {
    cluster = await TestCluster.start();
    server = cluster.api;
    for (const name of NODES) await cluster.addNode(name, { pool: 'gpu' });
  });
  beforeEach(async () => {
    data = new FakeDataSide();
    patched = [];
    controllers = newControllers();
    await controllers.start(new AbortController().signal);
    await controllers.lead();
  });
  afterEach(async () => {
    await controllers.stop();
    for (const { metadata } of await list<Distribution>(resources.distributions, 'default')) {
      const path = objectPath(resources.distributions, metadata);
      await edit(path, { metadata: { finalizers: null } });
      await server.admin.request({ method: 'DELETE', path }).catch(() => {});
    }
    for (const { metadata } of await volumes()) {
      const path = objectPath(resources.persistentVolumes, metadata);
      await server.admin.request({ method: 'DELETE', path });
    }
    for (const { metadata } of await claims()) {
      const name = { namespace: 'default', name: metadata.name };
      const path = objectPath(resources.persistentVolumeClaims, name);
      await server.admin.request({ method: 'DELETE', path });
    }
    await untilNothingIsLeft();
  });
  afterAll(() => server?.stop());

  function newControllers(workloads?: TestControllersOptions['workloads']): Controllers {
    const client = watched(server.operator);
    const fleet = { agentRoot: '/data/sluice' };
    return testControllers({ client, data, fleet, ...(workloads && { workloads }) });
  }

  /** The same client; writes to nodes are noted. */
  function watched(client: KubeClient): KubeClient {
    return {
      request: (call: KubeRequest) => {
        const node = /^\/api\/v1\/nodes\/(.+)$/.exec(call.path)?.[1];
        if (node !== undefined && call.method === 'PATCH') {
          patched.push({ node, atMs: performance.now() });
        }
        return client.request(call);
      },
      lines: (call: Parameters<KubeClient['lines']>[0]) => client.lines(call),
    } as unknown as KubeClient;
  }

  async function list<T>(resource: Resource, namespace?: string): Promise<T[]> {
    const path = listPath(resource, namespace);
    return (await server.admin.request<{ items: T[] }>({ method: 'GET', path })).items;
  }

  const apply = (name: string, target: object) =>
    cluster.apply(name, { target: { path: name, ...target } });

  async function edit(path: string, body: object): Promise<void> {
    const contentType = 'application/merge-patch+json';
    await server.admin.request({ method: 'PATCH', path, contentType, body });
  }

  const editTarget = (name: string, target: object) => cluster.edit(name, { target });

  const claims = async () =>
    (await list<Claim>(resources.persistentVolumeClaims, 'default')).filter(
      ({ metadata }) => metadata.name !== 'of-somebody-else',
    );
  const volumes = () => list<Volume>(resources.persistentVolumes);

  const reasonOf = async (name: string, type: string) => {
    const { status } = await cluster.read(name);
    return status?.conditions?.find((condition) => condition.type === type)?.reason;
  };

  /** Here no controller of Kubernetes binds claims or lets go of what was in use. */
  async function letGo(): Promise<void> {
    for (const { metadata } of await claims()) {
      const path = objectPath(resources.persistentVolumeClaims, {
        namespace: 'default',
        ...metadata,
      });
      await edit(path, { metadata: { finalizers: null } }).catch(() => {});
    }
    for (const { metadata } of await volumes()) {
      const path = objectPath(resources.persistentVolumes, metadata);
      await edit(path, { metadata: { finalizers: null } }).catch(() => {});
    }
  }

  const untilNothingIsLeft = () =>
    vi.waitFor(async () => {
      await letGo();
      expect([...(await claims()), ...(await volumes())]).toEqual([]);
    }, WAIT);

  it('a volume and a claim are kept, follow the name, and go with the field', async () => {
    const { metadata } = await apply('llama', {
      nodeSelector: { pool: 'gpu' },
      persistentVolumeClaim: 'model',
    });
    const [volume, claim] = await vi.waitFor(async () => {
      const found = [(await volumes())[0], (await claims())[0]] as const;
      expect(found[0]?.metadata.name).toMatch(`sluice-${metadata.uid}-`);
      expect(found[1]?.metadata.name).toBe('model');
      return found as [Volume, Claim];
    }, WAIT);
    expect(volume.spec).toMatchObject({
      accessModes: ['ReadOnlyMany'],
      hostPath: { path: '/data/sluice/default/llama', type: 'Directory' },
      claimRef: { name: 'model' },
      nodeAffinity: {
        required: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: 'pool', operator: 'In', values: ['gpu'] }] },
          ],
        },
      },
    });
    expect(claim.spec.volumeName).toBe(volume.metadata.name);
    expect(claim.metadata.ownerReferences?.map(({ uid }) => uid)).toEqual([metadata.uid]);
    await vi.waitFor(
      async () => expect(await reasonOf('llama', 'VolumeAvailable')).toBe('VolumePending'),
      WAIT,
    );

    await editTarget('llama', { persistentVolumeClaim: 'other' });
    await vi.waitFor(async () => {
      await letGo();
      expect((await claims()).map(({ metadata }) => metadata.name)).toEqual(['other']);
      expect((await volumes()).map(({ spec }) => spec.claimRef.name)).toEqual(['other']);
    }, WAIT);

    await editTarget('llama', { persistentVolumeClaim: null });
    await untilNothingIsLeft();
    await vi.waitFor(
      async () => expect(await reasonOf('llama', 'VolumeAvailable')).toBeUndefined(),
      WAIT,
    );
  });

  it('a claim that pods may use is not replaced when the nodes change, until it is deleted', async () => {
    await apply('outdated', { persistentVolumeClaim: 'model' });
    await vi.waitFor(async () => expect(await claims()).toHaveLength(1), WAIT);
    const [before] = await claims();
    await editTarget('outdated', { nodeSelector: { pool: 'gpu' } });
    await vi.waitFor(
      async () => expect(await reasonOf('outdated', 'VolumeAvailable')).toBe('VolumeOutdated'),
      WAIT,
    );
    expect((await claims()).map(({ metadata }) => metadata.uid)).toEqual([before!.metadata.uid]);

    const path = objectPath(resources.persistentVolumeClaims, {
      namespace: 'default',
      name: 'model',
    });
    await server.admin.request({ method: 'DELETE', path });
    await vi.waitFor(async () => {
      await letGo();
      const [volume] = await volumes();
      expect(volume?.spec.nodeAffinity).toBeDefined();
      expect((await claims())[0]?.spec.volumeName).toBe(volume?.metadata.name);
    }, WAIT);
  });

  it('a claim of somebody else is left alone, and one that was left over is removed', async () => {
    const body = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'of-somebody-else' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    };
    const path = listPath(resources.persistentVolumeClaims, 'default');
    const theirs = await server.admin.request<Claim>({ method: 'POST', path, body });
    await apply('conflict', { persistentVolumeClaim: 'of-somebody-else' });
    await vi.waitFor(
      async () => expect(await reasonOf('conflict', 'VolumeAvailable')).toBe('ClaimConflict'),
      WAIT,
    );
    const now = await server.admin.request<Claim>({
      method: 'GET',
      path: `${path}/of-somebody-else`,
    });
    expect(now).toEqual(theirs);
    expect(await volumes()).toEqual([]);

    await editTarget('conflict', { persistentVolumeClaim: 'own' });
    await vi.waitFor(async () => expect(await claims()).toHaveLength(1), WAIT);
    // The Distribution goes while no operator is there to see it.
    await controllers.stop();
    const object = objectPath(resources.distributions, { namespace: 'default', name: 'conflict' });
    await edit(object, { metadata: { finalizers: null } });
    await server.admin.request({ method: 'DELETE', path: object });
    controllers = newControllers();
    await controllers.start(new AbortController().signal);
    await controllers.lead();
    await untilNothingIsLeft();
  });

  it('a claim that a backup has copied to another namespace, labels and all, is nobody of ours', async () => {
    await apply('copied', { persistentVolumeClaim: 'model' });
    await vi.waitFor(async () => expect(await claims()).toHaveLength(1), WAIT);
    const before = [...(await claims()), ...(await volumes())].map(({ metadata }) => metadata.uid);
    const [{ metadata, spec }] = (await claims()) as [Claim];
    const { labels, annotations, ownerReferences } = metadata;
    // Before `default` in every list.
    const namespace = 'copies';
    await server.admin.request({
      method: 'POST',
      path: listPath(resources.namespaces),
      body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    });
    const path = listPath(resources.persistentVolumeClaims, namespace);
    // One as Velero leaves it, and one that names the owner still.
    const copies = [
      { name: 'model', labels, annotations },
      { name: 'other', labels, annotations, ownerReferences },
    ];
    for (const copy of copies) {
      const body = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: copy, spec };
      await server.admin.request({ method: 'POST', path, body });
    }
    const copied = async () => {
      const found = await list<Claim & { metadata: { deletionTimestamp?: string } }>(
        resources.persistentVolumeClaims,
        namespace,
      );
      return found.filter((claim) => claim.metadata.deletionTimestamp === undefined);
    };
    // A new leader finds all of them, and is woken by each.
    await controllers.stop();
    controllers = newControllers();
    await controllers.start(new AbortController().signal);
    await controllers.lead();
    await editTarget('copied', { fileMode: '0755' });
    await sleep(2_000);
    const after = [...(await claims()), ...(await volumes())].map(({ metadata }) => metadata.uid);
    expect(after).toEqual(before);
    expect(await copied()).toHaveLength(2);

    await editTarget('copied', { persistentVolumeClaim: null });
    await untilNothingIsLeft();
    expect(await copied()).toHaveLength(2);
  });

  it('a Distribution does not wait for its claim, which Kubernetes keeps for the pods', async () => {
    const { metadata } = await apply('in-use', { persistentVolumeClaim: 'model' });
    await vi.waitFor(async () => expect(await claims()).toHaveLength(1), WAIT);
    data.confirm(metadata.uid);
    const path = objectPath(resources.distributions, { namespace: 'default', name: 'in-use' });
    await server.admin.request({ method: 'DELETE', path });
    await vi.waitFor(
      () =>
        expect(server.admin.request({ method: 'GET', path })).rejects.toMatchObject({
          code: 'NotFound',
        }),
      WAIT,
    );
    // Its finalizer holds it: to Kubernetes it may be in use.
    expect(await claims()).toHaveLength(1);
    await untilNothingIsLeft();
  });

  describe('nodes that show the files', () => {
    const KEY = 'default.dist.sluice.dev/labelled';
    const labels = async () => {
      const nodes = await list<NodeObject>(resources.nodes);
      const entries = nodes.map(({ metadata }) => [metadata.name, metadata.labels?.[KEY]] as const);
      return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
    };
    const all = (value: string) => Object.fromEntries(NODES.map((name) => [name, value]));
    const ready = (names: readonly string[]) =>
      names.map((name) => aReport(name, { state: 'ready', verifiedBytes: 1000 }));

    it('bear its label as long as they do, by one paced write each', async () => {
      const { metadata } = await apply('labelled', { nodeLabel: true });
      await vi.waitFor(() => expect(data.plans.has(metadata.uid)).toBe(true), WAIT);
      data.report(metadata.uid, ready(NODES));
      await vi.waitFor(async () => expect(await labels()).toEqual(all('1')), WAIT);
      await vi.waitFor(
        async () => expect(await reasonOf('labelled', 'NodesLabelled')).toBe('NodesLabelled'),
        WAIT,
      );
      expect(patched.map(({ node }) => node).sort()).toEqual([...NODES].sort());
      // Not one burst: a write begins only some time after the one before.
      const gaps = patched.slice(1).map(({ atMs }, at) => atMs - patched[at]!.atMs);
      expect(Math.min(...gaps)).toBeGreaterThan(10);

      data.report(metadata.uid, ready(NODES));
      const path = objectPath(resources.nodes, { name: 'node-2' });
      await edit(path, { metadata: { labels: { [KEY]: null } } });
      await vi.waitFor(async () => expect(await labels()).toEqual(all('1')), WAIT);
      expect(patched, 'one for the edit of a stranger, none for no news').toHaveLength(
        NODES.length + 1,
      );

      const lost = aReport('node-1', { state: 'transferring' });
      data.report(metadata.uid, [lost, ...ready(NODES.slice(1))]);
      const others = Object.fromEntries(NODES.slice(1).map((name) => [name, '1']));
      await vi.waitFor(async () => expect(await labels()).toEqual(others), WAIT);

      await editTarget('labelled', { nodeLabel: false });
      await vi.waitFor(async () => expect(await labels()).toEqual({}), WAIT);
      expect(patched).toHaveLength(NODES.length * 2 + 1);
    });

    it('keep it through a change of leader, and lose it when the Distribution is gone', async () => {
      const { metadata } = await apply('labelled', { nodeLabel: true });
      await vi.waitFor(() => expect(data.plans.has(metadata.uid)).toBe(true), WAIT);
      data.report(metadata.uid, ready(NODES));
      await vi.waitFor(async () => expect(await labels()).toEqual(all('1')), WAIT);
      await controllers.stop();
      const before = patched.length;
      controllers = newControllers();
      await controllers.start(new AbortController().signal);
      // The new leader has not heard of the nodes: they are as they were.
      data.report(
        metadata.uid,
        NODES.map((name) => aReport(name, { state: 'pending' })),
      );
      await controllers.lead();
      await vi.waitFor(() => expect(data.primedWith).toContain(metadata.uid), WAIT);
      data.report(metadata.uid, ready(NODES));
      await vi.waitFor(
        async () => expect(await reasonOf('labelled', 'NodesLabelled')).toBe('NodesLabelled'),
        WAIT,
      );
      expect(patched).toHaveLength(before);

      data.confirm(metadata.uid);
      const path = objectPath(resources.distributions, { namespace: 'default', name: 'labelled' });
      await server.admin.request({ method: 'DELETE', path });
      await vi.waitFor(async () => expect(await labels()).toEqual({}), WAIT);
    });
  });

  it('what the chart has left out is refused by a condition that says what to do', async () => {
    await controllers.stop();
    controllers = newControllers({ persistentVolumeClaims: false, nodeLabels: false });
    await controllers.start(new AbortController().signal);
    await controllers.lead();
    await apply('refused', { persistentVolumeClaim: 'model', nodeLabel: true });
    await vi.waitFor(async () => {
      expect(await reasonOf('refused', 'VolumeAvailable')).toBe('VolumesDisabled');
      expect(await reasonOf('refused', 'NodesLabelled')).toBe('NodeLabelsDisabled');
    }, WAIT);
    expect(await claims()).toEqual([]);
  });
});
