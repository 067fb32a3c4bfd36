import { connect, createServer, type Server, type Socket } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  OPERATOR_NAMESPACE,
  startApiServer,
  type TestApiServer,
} from '../testing/adapters/apiServer.ts';
import { steadyRandom } from '../testing/fakeClock.ts';
import { applyObject, enforceObject } from './apply.ts';
import { isKubeError, KubeClient } from './client.ts';
import { EventRecorder } from './events.ts';
import { LeaderElection } from './leaderElection.ts';
import { listPath, objectPath, resources } from './paths.ts';
import { type KubeObject, Reflector } from './reflector.ts';

const signal = new AbortController().signal;

describe('on a real API server', () => {
  let server: TestApiServer;
  const cleanUps: (() => unknown)[] = [];

  beforeAll(async () => {
    server = await startApiServer();
  });
  afterEach(async () => {
    await server.admin.request({ method: 'DELETE', path: listPath(resources.nodes) });
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });
  afterAll(() => server?.stop());

  async function deleteNode(name: string) {
    await server.admin.request({ method: 'DELETE', path: objectPath(resources.nodes, { name }) });
  }

  function reflectNodes(client: KubeClient, options: { pageSize?: number; watchSeconds?: number }) {
    const changes: string[] = [];
    const errors: unknown[] = [];
    const reflector = new Reflector<KubeObject>(
      { path: listPath(resources.nodes), ...options },
      {
        client,
        clock: systemClock,
        random: steadyRandom,
        index: (node) => node.metadata.name.split('-')[0],
        onChange: (current, previous) =>
          changes.push(
            `${current ? (previous ? '~' : '+') : '-'}${(current ?? previous)!.metadata.name}`,
          ),
        onError: (error) => errors.push(error),
      },
    );
    reflector.start();
    cleanUps.push(() => reflector.stop());
    return { reflector, changes, errors };
  }

  const names = (reflector: Reflector<KubeObject>) =>
    [...reflector.list()].map((node) => node.metadata.name).sort();

  it('a reflector lists in pages and then follows', async () => {
    for (const name of ['page-1', 'page-2', 'page-3']) await server.addNode(name);
    const { reflector, changes } = reflectNodes(server.operator, { pageSize: 1 });
    await reflector.synced();
    expect(names(reflector)).toEqual(['page-1', 'page-2', 'page-3']);
    await server.addNode('page-4');
    await deleteNode('page-1');
    await vi.waitFor(() => expect(names(reflector)).toEqual(['page-2', 'page-3', 'page-4']));
    expect(changes).toEqual(['+page-1', '+page-2', '+page-3', '+page-4', '-page-1']);
    expect([...reflector.indexed('page')]).toHaveLength(3);
  });

  it('a reflector resumes where it was when its connection breaks', async () => {
    const proxy = await breakableProxy(server.operatorConfig);
    cleanUps.push(() => proxy.close());
    const client = new KubeClient({}, { config: proxy.config });
    cleanUps.push(() => client.close());
    await server.addNode('break-1');
    const { reflector, changes, errors } = reflectNodes(client, {});
    await reflector.synced();
    await server.addNode('break-2');
    await vi.waitFor(() => expect(names(reflector)).toEqual(['break-1', 'break-2']));
    proxy.breakAll();
    await server.addNode('break-3');
    await deleteNode('break-1');
    await vi.waitFor(() => expect(names(reflector)).toEqual(['break-2', 'break-3']), {
      timeout: 10_000,
    });
    expect(changes).toEqual(['+break-1', '+break-2', '+break-3', '-break-1']);
    expect(errors.length).toBeGreaterThan(0);
  });

  it('a reflector goes on after the server has ended each of its watches', async () => {
    const { reflector, errors } = reflectNodes(server.operator, { watchSeconds: 2 });
    await reflector.synced();
    await new Promise((resolve) => setTimeout(resolve, 4_500));
    await server.addNode('late-1');
    await vi.waitFor(() => expect(names(reflector)).toEqual(['late-1']), { timeout: 5_000 });
    expect(errors).toEqual([]);
  });

  it('a reflector lists again after the server has crashed, and misses nothing', async () => {
    const client = new KubeClient({}, { config: server.operatorConfig });
    cleanUps.push(() => client.close());
    const lists = vi.spyOn(client, 'request');
    await server.addNode('crash-1');
    const { reflector, changes, errors } = reflectNodes(client, {});
    await reflector.synced();
    // A server that starts remembers nothing from before: this is newer than what was watched last.
    await server.admin.request({
      method: 'POST',
      path: '/api/v1/namespaces/default/configmaps',
      body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'since' } },
    });
    await server.restart();
    await server.addNode('crash-2');
    await deleteNode('crash-1');
    await vi.waitFor(() => expect(names(reflector)).toEqual(['crash-2']), { timeout: 30_000 });
    expect(changes).toEqual(expect.arrayContaining(['+crash-1', '+crash-2', '-crash-1']));
    expect(errors.filter((error) => isKubeError(error, 'Gone'))).toHaveLength(1);
    expect(lists).toHaveBeenCalledTimes(2);
  });

  function candidate(identity: string, client: KubeClient = server.operator) {
    const story: string[] = [];
    const election = new LeaderElection(
      {
        namespace: OPERATOR_NAMESPACE,
        name: 'sluice-operator',
        identity,
        durationMs: 2000,
        renewDeadlineMs: 1400,
        intervalMs: 200,
        lookMs: 200,
      },
      {
        client,
        clock: systemClock,
        random: steadyRandom,
        onStarted: (term) => story.push(`started ${term}`),
        onStopped: (reason) => {
          story.push(`stopped ${reason}`);
        },
        onError: () => {},
      },
    );
    cleanUps.push(() => election.stop());
    election.start();
    return { election, story };
  }

  it('one of several candidates leads, and another as soon as it gives the Lease back', async () => {
    const candidates = [candidate('a'), candidate('b'), candidate('c')];
    const leaders = () => candidates.filter(({ election }) => election.isLeader);
    await vi.waitFor(() => expect(leaders()).toHaveLength(1));
    const first = leaders()[0]!;
    const givenBackMs = Date.now();
    await first.election.stop();
    expect(first.story.at(-1)).toBe('stopped released');
    await vi.waitFor(() => expect(leaders()).toHaveLength(1), { interval: 20 });
    expect(Date.now() - givenBackMs).toBeLessThan(1000);
    const [before, after] = [first.story[0]!, leaders()[0]!.story[0]!];
    expect(Number(after.split(' ')[1])).toBe(Number(before.split(' ')[1]) + 1);
  });

  it('a leader that cannot renew has stepped down before another leads', async () => {
    const proxy = await breakableProxy(server.operatorConfig);
    cleanUps.push(() => proxy.close());
    const client = new KubeClient({}, { config: proxy.config });
    cleanUps.push(() => client.close());
    const cut = candidate('cut', client);
    await vi.waitFor(() => expect(cut.election.isLeader).toBe(true), { timeout: 5_000 });
    const other = candidate('other');
    let bothLed = false;
    const watch = setInterval(() => {
      if (cut.election.isLeader && other.election.isLeader) bothLed = true;
    }, 1);
    cleanUps.push(() => clearInterval(watch));
    proxy.refuse();
    await vi.waitFor(() => expect(other.election.isLeader).toBe(true), { timeout: 10_000 });
    expect(cut.story.at(-1)).toBe('stopped lost');
    expect(bothLed).toBe(false);
  });

  it('an apply owns its fields, takes back what it no longer names, and heeds the uid', async () => {
    const metadata = { namespace: OPERATOR_NAMESPACE, name: 'applied' };
    const deployment = (more: object) => ({
      metadata,
      spec: {
        replicas: 1,
        selector: { matchLabels: { a: 'b' } },
        template: {
          metadata: { labels: { a: 'b' } },
          spec: { containers: [{ name: 'c', image: 'i' }], ...more },
        },
      },
    });
    type Pod = { spec: { template: { spec: { priority?: number; nodeName?: string } } } };
    const { operator } = server;
    await applyObject(operator, resources.deployments, deployment({ nodeName: 'x' }), signal);
    const after = await applyObject<Pod>(operator, resources.deployments, deployment({}), signal);
    expect(after.spec.template.spec.nodeName).toBeUndefined();
    const stranger = { ...deployment({}), metadata: { ...metadata, uid: 'another' } };
    const refused = await applyObject(operator, resources.deployments, stranger, signal).catch(
      (error: unknown) => error,
    );
    expect(refused).toMatchObject({ code: 'Conflict' });
  });

  it('what is enforced is refused like an apply when it is invalid by itself', async () => {
    const metadata = { namespace: OPERATOR_NAMESPACE, name: 'enforced' };
    const enforce = (maxUnavailable: number) => {
      const spec = { maxUnavailable, selector: { matchLabels: { a: 'b' } } };
      const budget = { metadata, spec };
      return enforceObject(server.operator, resources.podDisruptionBudgets, budget, signal);
    };
    await expect(enforce(-1), 'there is none yet').rejects.toMatchObject({ code: 'Invalid' });
    await enforce(1);
    await expect(enforce(-1)).rejects.toMatchObject({ code: 'Invalid' });
  });

  it('an event that repeats is one event with a count', async () => {
    let nowMs = 0;
    const dropped: unknown[] = [];
    const recorder = new EventRecorder(
      { instance: 'test' },
      {
        client: server.operator,
        clock: { now: () => nowMs, setTimer: systemClock.setTimer },
        onDropped: (reason, error) => dropped.push([reason, error]),
      },
    );
    const subject = {
      resource: resources.distributions,
      namespace: 'default',
      name: 'told',
      uid: 'u',
    };
    const text = {
      type: 'Warning',
      reason: 'SourceNotFound',
      action: 'Resolve',
      note: 'n',
    } as const;
    for (const atMs of [0, 1_000, 20_000]) {
      nowMs = atMs;
      recorder.record(subject, text);
    }
    type Events = { items: { regarding: { name: string }; series?: { count: number } }[] };
    await vi.waitFor(async () => {
      const path = listPath(resources.events, 'default');
      const { items } = await server.admin.request<Events>({ method: 'GET', path });
      const ours = items.filter((event) => event.regarding.name === 'told');
      expect(ours.map((event) => event.series?.count)).toEqual([3]);
    });
    for (let number = 0; number < 100; number += 1) {
      recorder.record(subject, { ...text, note: `another ${number}` });
    }
    expect(dropped.filter((entry) => (entry as unknown[])[0] === 'tooMany').length).toBeGreaterThan(
      50,
    );
  });
});

/** A way to the API server that a test can break. */
async function breakableProxy(config: KubeConfig) {
  const target = new URL(config.getCurrentCluster()!.server);
  const sockets = new Set<Socket>();
  let refusing = false;
  const proxy: Server = createServer((socket) => {
    if (refusing) return socket.destroy();
    const upstream = connect(Number(target.port), target.hostname);
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
    return undefined;
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as { port: number };
  const through = new KubeConfig();
  through.loadFromClusterAndUser(
    { name: 'test', server: `https://127.0.0.1:${port}`, skipTLSVerify: true },
    config.getCurrentUser()!,
  );
  const breakAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    config: through,
    breakAll,
    refuse() {
      refusing = true;
      breakAll();
    },
    close() {
      breakAll();
      return new Promise((resolve) => proxy.close(resolve));
    },
  };
}
