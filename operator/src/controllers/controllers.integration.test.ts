/** The controllers on a real API server, with the rights of kube/permissions.ts and a data side in memory. */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Distribution } from '../api/v1alpha1/distribution.ts';
import type { Origin } from '../api/v1alpha1/origin.ts';
import { listPath, objectPath, resources } from '../kube/paths.ts';
import { marksOf } from '../policies/originJournals.ts';
import { OPERATOR_NAMESPACE, type TestApiServer } from '../testing/adapters/apiServer.ts';
import { leadingControllers, TestCluster } from '../testing/adapters/controllersSetup.ts';
import { FakeDataSide } from '../testing/fakeDataSide.ts';
import { aReport } from '../testing/objects.ts';
import type { Controllers } from './controllers.ts';

const ZONE = 'topology.kubernetes.io/zone';
const FINALIZER = 'sluice.dev/distribution';
const WAIT = { timeout: 15_000, interval: 50 };

describe('the controllers', () => {
  let cluster: TestCluster;
  let server: TestApiServer;
  let data: FakeDataSide;
  let controllers: Controllers;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    server = cluster.api;
    await cluster.addNode('node-a', { [ZONE]: 'a' });
    await cluster.addNode('node-b', { [ZONE]: 'b' });
  });
  beforeEach(async () => {
    data = new FakeDataSide();
    controllers = await leadingControllers({ client: server.operator, data });
  });
  afterEach(async () => {
    await controllers.stop();
  });
  afterAll(() => server?.stop());

  const apply = (name: string, spec: object = {}) =>
    cluster.apply(name, { deletionGraceSeconds: 0, ...spec });
  const read = (name: string) => cluster.read(name);
  const edit = (name: string, body: object) => cluster.patch(name, body);

  async function remove(name: string): Promise<void> {
    const path = objectPath(resources.distributions, { namespace: 'default', name });
    await server.admin.request({ method: 'DELETE', path });
  }

  async function condition(name: string, type: string) {
    const { status } = await read(name);
    const found = status?.conditions?.find((one) => one.type === type);
    return found && `${found.status}/${found.reason}`;
  }

  type Workloads = { items: { metadata: { name: string }; spec: { replicas?: number } }[] };
  async function workloads(resource: typeof resources.deployments | typeof resources.daemonSets) {
    const path = listPath(resource, OPERATOR_NAMESPACE);
    return (await server.admin.request<Workloads>({ method: 'GET', path })).items;
  }

  const ready = (name: string) => aReport(name, { state: 'ready', verifiedBytes: 1000 });

  it('take a Distribution from apply to Ready to gone', async () => {
    const { metadata } = await apply('whole');
    const plan = await vi.waitFor(() => {
      const found = data.plans.get(metadata.uid);
      expect(found).toBeDefined();
      return found!;
    }, WAIT);
    expect(data.records.get(metadata.uid)?.swarmId).toBe(plan.record.swarmId);
    expect(plan.nodes).toMatchObject([
      { name: 'node-a', domain: 'a' },
      { name: 'node-b', domain: 'b' },
    ]);
    expect(plan.record.files).toEqual([
      { path: 'whole.bin', sizeBytes: 1000, validator: { etag: '"v1"' } },
    ]);
    await vi.waitFor(
      async () => expect(await workloads(resources.deployments)).toHaveLength(2),
      WAIT,
    );
    expect((await workloads(resources.daemonSets)).map((one) => one.metadata.name)).toEqual([
      'sluice-agent',
    ]);
    expect((await read('whole')).metadata.finalizers).toEqual([FINALIZER]);

    data.report(metadata.uid, [ready('node-a'), aReport('node-b', { verifiedBytes: 500 })]);
    await vi.waitFor(async () => {
      const { status } = await read('whole');
      expect(status?.summary).toMatchObject({ nodes: '1/2', progress: '75%' });
      expect(await condition('whole', 'Reconciling')).toBe('True/Transferring');
    }, WAIT);
    data.report(metadata.uid, [ready('node-a'), ready('node-b')]);
    await vi.waitFor(
      async () => expect(await condition('whole', 'Ready')).toBe('True/Delivered'),
      WAIT,
    );
    expect(await condition('whole', 'Reconciling')).toBeUndefined();
    expect((await read('whole')).status?.observedGeneration).toBe(1);

    await remove('whole');
    await vi.waitFor(() => expect(data.tombstones.get(metadata.uid)).toBe(true), WAIT);
    expect((await read('whole')).metadata.deletionTimestamp).toBeDefined();
    data.confirm(metadata.uid);
    await vi.waitFor(() => expect(read('whole')).rejects.toMatchObject({ code: 'NotFound' }), WAIT);
    expect(data.records.size).toBe(0);
  });

  it('tell what is wrong with the origin, and recover when it is right again', async () => {
    data.source = () => {
      throw Object.assign(new Error('404 from origin.example.com'), {
        code: 'HttpStatus',
        httpStatus: 404,
      });
    };
    const { metadata } = await apply('missing');
    await vi.waitFor(
      async () => expect(await condition('missing', 'Stalled')).toBe('True/SourceNotFound'),
      WAIT,
    );
    expect(await condition('missing', 'SourceResolved')).toBe('False/SourceNotFound');
    expect(data.plans.has(metadata.uid)).toBe(false);
    data.source = FakeDataSide.source;
    await vi.waitFor(async () => {
      expect(await condition('missing', 'SourceResolved')).toBe('True/Resolved');
      expect(await condition('missing', 'Stalled')).toBeUndefined();
    }, WAIT);
    type Events = { items: { reason: string; regarding: { name: string } }[] };
    const path = listPath(resources.events, 'default');
    const { items } = await server.admin.request<Events>({ method: 'GET', path });
    const reasons = items
      .filter((one) => one.regarding.name === 'missing')
      .map((one) => one.reason);
    expect(reasons).toEqual(expect.arrayContaining(['SourceNotFound', 'EpochStarted']));
  });

  it('begin another epoch when the url is edited, and when the file changed at the origin', async () => {
    const { metadata } = await apply('epochs');
    const epochIs = (number: number) =>
      vi.waitFor(() => expect(data.plans.get(metadata.uid)?.record.epoch).toBe(number), WAIT);
    await epochIs(1);
    await edit('epochs', { spec: { source: { url: 'http://origin.example.com/v2.bin' } } });
    await epochIs(2);
    expect(data.plans.get(metadata.uid)?.record.files[0]?.path).toBe('v2.bin');
    data.report(metadata.uid, [aReport('node-a')], { sourceChanged: true });
    await epochIs(3);
    const { swarmSecret } = data.plans.get(metadata.uid)!.record;
    expect(swarmSecret).toBe(data.records.get(metadata.uid)?.swarmSecret);
  });

  it('use mirrors while they have the same, edited in place, and drop one that has not', async () => {
    const url = 'http://origin.example.com/mirrored.bin';
    const digest = `sha256:${'a'.repeat(64)}`;
    const [first, second] = ['http://one.example.com/m.bin', 'http://two.example.com/m.bin'];
    const { metadata } = await apply('mirrored', { source: { url, digest, mirrors: [first] } });
    const { uid } = metadata;
    const usedAre = (epoch: number, ...urls: string[]) =>
      vi.waitFor(() => {
        const { record, mirrors = [] } = data.plans.get(uid)!;
        expect([record.epoch, ...mirrors.map((mirror) => mirror.url)]).toEqual([epoch, ...urls]);
      }, WAIT);
    await usedAre(1, first);
    const mirrorsAre = (said: string | undefined) =>
      vi.waitFor(
        async () => expect(await condition('mirrored', 'MirrorsAvailable')).toBe(said),
        WAIT,
      );
    await mirrorsAre('True/MirrorsReady');
    await edit('mirrored', { spec: { source: { mirrors: [second, first] } } });
    await usedAre(1, second, first);

    const error = { reason: 'DigestMismatch', message: 'another digest' };
    const failed = ['node-a', 'node-b'].map((name) => aReport(name, { state: 'failed', error }));
    data.report(uid, failed, { suspectMirrors: [second] });
    await usedAre(2, first);
    await mirrorsAre('False/MirrorDropped');
    expect(data.records.get(uid)?.droppedMirrors).toEqual([second]);
    // With the source alone it is final.
    data.report(uid, failed, { suspectMirrors: [] });
    await vi.waitFor(
      async () => expect(await condition('mirrored', 'Stalled')).toBe('True/DigestMismatch'),
      WAIT,
    );
    expect(data.plans.get(uid)?.record.epoch).toBe(2);
    await edit('mirrored', { spec: { source: { mirrors: [] } } });
    await usedAre(2);
    await mirrorsAre(undefined);
  });

  it('make a set of files one epoch, and another one when one of them is edited', async () => {
    const files = [
      { path: 'b.bin', digest: `sha256:${'ab'.repeat(32)}` },
      { path: 'a/empty', sizeBytes: 0 },
    ];
    data.source = () => ({
      sizeBytes: 700,
      validator: {},
      ranges: true,
      files: [
        { path: 'b.bin', sizeBytes: 700, sha256: 'ab'.repeat(32), validator: { etag: '"b"' } },
        { path: 'a/empty', sizeBytes: 0, validator: {} },
      ],
    });
    const url = 'http://origin.example.com/set/';
    const { metadata } = await apply('set', { source: { url, files } });
    const record = await vi.waitFor(() => {
      const found = data.plans.get(metadata.uid);
      expect(found).toBeDefined();
      return found!.record;
    }, WAIT);
    expect(record.files.map(({ path }) => path)).toEqual(['a/empty', 'b.bin']);
    expect(record.source).toEqual({ sizeBytes: 700, validator: {}, ranges: true });
    await vi.waitFor(async () => {
      const { status } = await read('set');
      const resolved = status?.conditions?.find((one) => one.type === 'SourceResolved');
      expect(resolved).toMatchObject({ status: 'True', message: '700 B, 2 files' });
      expect(status?.epoch).toMatchObject({ number: 1, sizeBytes: 700 });
    }, WAIT);
    await edit('set', { spec: { source: { files: [files[0], { path: 'a/empty' }] } } });
    await edit('set', { spec: { delivery: { maxRate: '20Mi' } } });
    await vi.waitFor(
      () => expect(data.plans.get(metadata.uid)?.delivery.maxRate).toBe(20 * 2 ** 20),
      WAIT,
    );
    expect(data.plans.get(metadata.uid)?.record.epoch).toBe(1);
    const found = data.source();
    const undigested = found.files?.map(({ sha256, ...file }) => file);
    data.source = () => ({ ...found, ...(undigested && { files: undigested }) });
    await edit('set', { spec: { source: { files: [{ path: 'b.bin' }, { path: 'a/empty' }] } } });
    await vi.waitFor(() => expect(data.plans.get(metadata.uid)?.record.epoch).toBe(2), WAIT);
    data.confirm(metadata.uid);
    await remove('set');
    await vi.waitFor(() => expect(read('set')).rejects.toMatchObject({ code: 'NotFound' }), WAIT);
    data.source = FakeDataSide.source;
  });

  it('change delivery in place, and send the credentials of the Secret', async () => {
    const { metadata } = await apply('secret', {
      source: { url: 'http://origin.example.com/a', secretRef: { name: 'cdn' } },
    });
    await vi.waitFor(
      async () => expect(await condition('secret', 'Stalled')).toBe('True/SecretNotFound'),
      WAIT,
    );
    await server.admin.request({
      method: 'POST',
      path: listPath(resources.secrets, 'default'),
      body: {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'cdn' },
        stringData: { token: 't' },
      },
    });
    await vi.waitFor(
      () => expect(data.plans.get(metadata.uid)?.headers).toEqual({ authorization: 'Bearer t' }),
      WAIT,
    );
    await edit('secret', { spec: { delivery: { minRate: '20Mi' } } });
    await vi.waitFor(
      () => expect(data.plans.get(metadata.uid)?.delivery.minRate).toBe(20 * 2 ** 20),
      WAIT,
    );
    expect(data.plans.get(metadata.uid)?.record.epoch).toBe(1);
  });

  it('give the files of a deleted Distribution to the one that comes in its place', async () => {
    const spec = { target: { path: 'heritage' }, deletionGraceSeconds: 600 };
    const digest = `sha256:${'ab'.repeat(32)}`;
    const source = { url: 'http://origin.example.com/heritage.bin', digest };
    const first = await apply('heritage', { ...spec, source });
    await vi.waitFor(() => expect(data.plans.has(first.metadata.uid)).toBe(true), WAIT);
    const { record } = data.plans.get(first.metadata.uid)!;
    data.confirm(first.metadata.uid);
    await remove('heritage');
    await vi.waitFor(
      () => expect(read('heritage')).rejects.toMatchObject({ code: 'NotFound' }),
      WAIT,
    );
    expect(data.tombstones.get(first.metadata.uid)).toBe(false);
    expect(data.plots.has(first.metadata.uid)).toBe(true);
    data.source = () => {
      throw new Error('nobody is asked where the digest is the same');
    };
    const { metadata } = await apply('heir', { ...spec, source });
    await vi.waitFor(
      () =>
        expect(data.plans.get(first.metadata.uid)?.record).toMatchObject({
          owner: metadata.uid,
          name: 'heir',
          epoch: 1,
          swarmId: record.swarmId,
        }),
      WAIT,
    );
    data.source = FakeDataSide.source;
    // The leader after this one knows whose it is.
    await controllers.stop();
    data.plans.clear();
    controllers = await leadingControllers({ client: server.operator, data });
    await vi.waitFor(() => expect(data.plans.has(first.metadata.uid)).toBe(true), WAIT);
    data.report(first.metadata.uid, [ready('node-a'), ready('node-b')]);
    await vi.waitFor(
      async () => expect(await condition('heir', 'Ready')).toBe('True/Delivered'),
      WAIT,
    );
    await edit('heir', { spec: { source: { digest: null } } });
    await vi.waitFor(() => expect(data.plans.get(first.metadata.uid)?.record.epoch).toBe(2), WAIT);
  });

  it('ask the origin whether adopted files without a digest are the same', async () => {
    const spec = { target: { path: 'undigested' }, deletionGraceSeconds: 600 };
    const source = { url: 'http://origin.example.com/undigested.bin' };
    const first = await apply('undigested', { ...spec, source });
    const { uid } = first.metadata;
    await vi.waitFor(() => expect(data.plans.has(uid)).toBe(true), WAIT);
    data.confirm(uid);
    await remove('undigested');
    await vi.waitFor(() => expect(data.plots.has(uid)).toBe(true), WAIT);
    let asked = 0;
    data.source = () => {
      asked += 1;
      return FakeDataSide.source();
    };
    const second = await apply('undigested-too', { ...spec, source });
    await vi.waitFor(() => {
      expect(asked).toBe(1);
      expect(data.records.get(uid)).toMatchObject({ epoch: 1, owner: second.metadata.uid });
      expect(data.records.get(uid)?.unproven).toBeUndefined();
    }, WAIT);
    data.source = FakeDataSide.source;
  });

  it('let the path go to the younger when the older is deleted', async () => {
    const older = await apply('older', { target: { path: 'shared' } });
    const younger = await apply('younger', { target: { path: 'shared/inner' } });
    const [kept, held] = [older, younger].sort((a, b) =>
      `${a.metadata.creationTimestamp}${a.metadata.uid}` <
      `${b.metadata.creationTimestamp}${b.metadata.uid}`
        ? -1
        : 1,
    ) as [Distribution, Distribution];
    await vi.waitFor(
      async () => expect(await condition(held.metadata.name, 'Stalled')).toBe('True/PathConflict'),
      WAIT,
    );
    data.confirm(kept.metadata.uid);
    await remove(kept.metadata.name);
    await vi.waitFor(() => expect(data.plans.has(held.metadata.uid)).toBe(true), WAIT);
  });

  it('go on where the leader before them was, with the same epoch', async () => {
    const { metadata } = await apply('handover');
    await vi.waitFor(() => expect(data.plans.has(metadata.uid)).toBe(true), WAIT);
    const before = data.plans.get(metadata.uid)!;
    await controllers.stop();
    data.plans.clear();
    data.primedWith = undefined;
    controllers = await leadingControllers({ client: server.operator, data });
    await vi.waitFor(() => expect(data.primedWith).toContain(metadata.uid), WAIT);
    expect(data.plans.get(metadata.uid)).toEqual(before);
  });

  it('set right what a stranger changes of the agents', async () => {
    const path = objectPath(resources.daemonSets, {
      namespace: OPERATOR_NAMESPACE,
      name: 'sluice-agent',
    });
    type DaemonSet = { spec: { template: { spec: { containers: { image: string }[] } } } };
    const image = async () =>
      (await server.admin.request<DaemonSet>({ method: 'GET', path })).spec.template.spec
        .containers[0]!.image;
    await vi.waitFor(async () => expect(await image()).toBe('agent:1'), WAIT);
    const changed = await server.admin.request<DaemonSet>({
      method: 'PATCH',
      path,
      contentType: 'application/strategic-merge-patch+json',
      body: { spec: { template: { spec: { containers: [{ name: 'agent', image: 'evil:1' }] } } } },
    });
    expect(changed.spec.template.spec.containers[0]!.image).toBe('evil:1');
    await vi.waitFor(async () => expect(await image()).toBe('agent:1'), WAIT);
  });

  it('hand the Origins on and show what is leased of them', async () => {
    const path = listPath(resources.origins);
    await server.admin.request({
      method: 'POST',
      path,
      body: {
        apiVersion: 'sluice.dev/v1alpha1',
        kind: 'Origin',
        metadata: { name: 'cdn' },
        spec: { hosts: ['origin.example.com'], limits: { maxConnections: 4, maxBandwidth: '1Mi' } },
      },
    });
    await vi.waitFor(
      () => expect(data.policies.map((policy) => policy.name)).toEqual(['cdn']),
      WAIT,
    );
    await vi.waitFor(async () => {
      const { status } = await server.admin.request<Origin>({ method: 'GET', path: `${path}/cdn` });
      expect(status?.summary?.connections).toBe('1 of 4');
    }, WAIT);
    const told = async (): Promise<string[]> => {
      const events = listPath(resources.events, 'default');
      type Events = { items: { reason: string; note: string; regarding: { name: string } }[] };
      const { items } = await server.admin.request<Events>({ method: 'GET', path: events });
      const own = items.filter(({ regarding }) => regarding.name === 'cdn');
      return own.map(({ reason, note }) => `${reason}: ${note}`);
    };
    const held = { reason: 'BandwidthInUse', waiting: 2, rateBytesPerSecond: 500 } as const;
    data.usage = { heldBack: [{ uid: 'x', wantRateBytesPerSecond: 2000, ...held }] };
    await vi.waitFor(async () => {
      const { status } = await server.admin.request<Origin>({ method: 'GET', path: `${path}/cdn` });
      expect(status?.conditions?.find(({ type }) => type === 'Limiting')).toMatchObject({
        status: 'True',
        reason: 'BandwidthInUse',
        message: expect.stringContaining('gets 500 B/s, wants up to 2 KiB/s (2 processes wait)'),
      });
      expect(await told()).toHaveLength(1);
    }, WAIT);
    // Other figures are another message, and no other event.
    data.usage = { heldBack: [{ uid: 'x', wantRateBytesPerSecond: 3000, ...held }] };
    await vi.waitFor(async () => {
      const { status } = await server.admin.request<Origin>({ method: 'GET', path: `${path}/cdn` });
      const limiting = status?.conditions?.find(({ type }) => type === 'Limiting');
      expect(limiting?.message).toContain('2.9 KiB/s');
    }, WAIT);
    expect(await told()).toHaveLength(1);
    const understated = {
      reason: 'UseUnderstated',
      reportedBytes: 1000,
      otherBytes: 3000,
    } as const;
    const atMs = systemClock.now();
    data.usage = { disagreements: [{ holder: 'relay r-1', atMs, ...understated }] };
    const says = 'relay r-1 reports 1000 B used under a lease, and has 2.9 KiB by its other meters';
    await vi.waitFor(async () => {
      const { status } = await server.admin.request<Origin>({ method: 'GET', path: `${path}/cdn` });
      expect(status?.conditions?.find(({ type }) => type === 'MetersAgree')).toMatchObject({
        status: 'False',
        reason: 'UseUnderstated',
        message: expect.stringContaining(says),
      });
      expect(await told()).toContainEqual(expect.stringContaining(`UseUnderstated: ${says}`));
    }, WAIT);
  });

  it('hold what an Origin does not serve for its namespace, until the namespace has the labels', async () => {
    await server.admin.request({
      method: 'POST',
      path: listPath(resources.origins),
      body: {
        apiVersion: 'sluice.dev/v1alpha1',
        kind: 'Origin',
        metadata: { name: 'for-some' },
        spec: {
          hosts: ['for-some.example.com'],
          allowedNamespaces: { from: 'Selector', matchLabels: { team: 'ml' } },
        },
      },
    });
    const isHandedOn = () => expect(data.policies.map(({ name }) => name)).toContain('for-some');
    await vi.waitFor(isHandedOn, WAIT);
    await apply('refused', { source: { url: 'http://for-some.example.com/file.bin' } });
    await vi.waitFor(async () => {
      expect(await condition('refused', 'Stalled')).toBe('True/NamespaceNotAllowed');
    }, WAIT);
    await server.admin.request({
      method: 'PATCH',
      path: '/api/v1/namespaces/default',
      contentType: 'application/merge-patch+json',
      body: { metadata: { labels: { team: 'ml' } } },
    });
    await vi.waitFor(async () => {
      expect(await condition('refused', 'SourceResolved')).toBe('True/Resolved');
    }, WAIT);
  });

  it('keep the marks of journals in the status of the Origin, and say when one is behind', async () => {
    const path = `${listPath(resources.origins)}/cdn`;
    const status = async () => {
      const origin = await server.admin.request<Origin>({ method: 'GET', path });
      return origin.status;
    };
    const mark = {
      host: 'origin.example.com:443',
      identity: 'a',
      written: 3,
      sequence: 8_195,
      trafficBytes: 4_000,
      periodStartMs: Date.UTC(2026, 10, 1),
    };
    const untilMs = Date.UTC(2026, 10, 26, 2);
    data.journals = { marks: [mark], behind: [{ host: mark.host, untilMs }] };
    data.originChanged('cdn');
    await vi.waitFor(() => expect(data.marked.at(-1)).toEqual(mark), WAIT);
    const behind = await status();
    expect(marksOf([behind]).get(mark.host)).toEqual(mark);
    expect(behind?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'False',
      reason: 'JournalBehind',
    });
    // A leader that knows nothing yet takes nothing away.
    data.journals = undefined;
    data.originChanged('cdn');
    await vi.waitFor(async () => {
      const ready = (await status())?.conditions?.find(({ type }) => type === 'Ready');
      expect(ready?.status).toBe('True');
    }, WAIT);
    expect(marksOf([await status()]).get(mark.host)).toEqual(mark);
  });
});
