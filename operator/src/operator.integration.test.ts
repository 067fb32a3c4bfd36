import { createServer } from 'node:net';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import type { DataSide } from './controllers/dataSide.ts';
import type { KubeClient } from './kube/client.ts';
import { objectPath, resources } from './kube/paths.ts';
import { leaderIpOf, Operator } from './operator.ts';
import {
  OPERATOR_NAMESPACE,
  startApiServer,
  type TestApiServer,
} from './testing/adapters/apiServer.ts';
import { TEST_FLEET } from './testing/adapters/controllersSetup.ts';
import { FakeDataSide } from './testing/fakeDataSide.ts';

interface Lease {
  spec: { holderIdentity: string };
}

describe('the operator', () => {
  let server: TestApiServer;

  beforeAll(async () => {
    server = await startApiServer();
  });
  afterAll(() => server?.stop());

  async function start(podIp: string) {
    const metricsPort = await freePort();
    const database = Promise.withResolvers<void>();
    const story: string[] = [];
    const fake = new FakeDataSide();
    const client = Promise.withResolvers<KubeClient>();
    let ready = false;
    const dataSide: DataSide = {
      coordinator: fake,
      epochs: fake,
      troubles: fake.troubles,
      start: async () => {
        await database.promise;
        ready = true;
      },
      lead: async (term) => {
        story.push(`lead ${term}`);
      },
      flush: async () => void story.push('flush'),
      stepDown: () => story.push('stepDown'),
      stop: async () => {
        story.push('stop');
      },
      ready: () => ready,
    };
    const operator = new Operator(
      {
        ...TEST_FLEET,
        podName: `operator-${podIp}`,
        podIp,
        mongoUri: '',
        metricsPort,
        requireOrigin: false,
        defaultLimits: { maxConnections: 8, maxBandwidthBytesPerSecond: 1 },
        logLevel: 'error',
        workloads: { persistentVolumeClaims: true, nodeLabels: true },
      },
      {
        kubeConfig: server.operatorConfig,
        clock: systemClock,
        random: { next: Math.random, bytes: (count) => Buffer.alloc(count, 1) },
        wallTime: () => new Date().toISOString(),
        logger: createLogger({ silent: true }),
        newDataSide: (environment) => {
          client.resolve(environment.client);
          return dataSide;
        },
      },
    );
    const running = operator.run();
    const get = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${metricsPort}${path}`);
      return { status: response.status, text: await response.text() };
    };
    return { operator, running, get, story, database, client: client.promise };
  }

  async function leader(): Promise<string | undefined> {
    const path = objectPath(resources.leases, {
      namespace: OPERATOR_NAMESPACE,
      name: 'sluice-operator',
    });
    return leaderIpOf(
      (await server.admin.request<Lease>({ method: 'GET', path })).spec.holderIdentity,
    );
  }

  it('is alive but not Ready without a database, then leads, and hands over when it is stopped', async () => {
    const first = await start('10.0.0.1');
    await vi.waitFor(async () => expect((await first.get('/healthz')).status).toBe(200));
    expect((await first.get('/readyz')).status).toBe(503);
    first.database.resolve();
    await vi.waitFor(() => expect(first.story).toEqual(['lead 1']), 10_000);
    expect((await first.get('/readyz')).status).toBe(200);
    expect((await first.get('/metrics')).text).toContain('sluice_operator_leader 1');
    expect(await leader()).toBe('10.0.0.1');

    const second = await start('10.0.0.2');
    second.database.resolve();
    await vi.waitFor(async () => expect((await second.get('/readyz')).status).toBe(200), 10_000);
    expect((await second.get('/metrics')).text).toContain('sluice_operator_leader 0');
    first.operator.stop();
    await first.running;
    expect(first.story).toEqual(['lead 1', 'flush', 'stepDown', 'stop']);
    await vi.waitFor(() => expect(second.story).toEqual(['lead 2']), 10_000);
    expect(await leader()).toBe('10.0.0.2');
    second.operator.stop();
    await second.running;
  });

  it('leads on while more requests than it has connections wait for their answers', async () => {
    const { client, database, operator, running, story } = await start('10.0.0.3');
    database.resolve();
    await vi.waitFor(() => expect(story).toHaveLength(1), 10_000);
    const { requests, end } = waiting(await client, 100);
    // Longer than a leader goes on that cannot renew.
    await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 9_000))]);
    expect(await leader()).toBe('10.0.0.3');
    expect(story).toHaveLength(1);
    end();
    await requests;
    operator.stop();
    await running;
  });
});

/** Watches, which the API server answers when something happens. */
function waiting(client: KubeClient, count: number) {
  const abort = new AbortController();
  const watch = async () => {
    const call = {
      method: 'GET',
      path: '/api/v1/namespaces',
      query: { watch: true, fieldSelector: 'metadata.name=nothing' },
      idleTimeoutMs: 60_000,
      signal: abort.signal,
    } as const;
    for await (const _line of client.lines(call));
  };
  const requests = Promise.allSettled(Array.from({ length: count }, watch));
  return { requests, end: () => abort.abort() };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
