import { createServer } from 'node:net';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import type { DataSide } from './controllers/dataSide.ts';
import { FINALIZER } from './controllers/distribution/api.ts';
import type { KubeClient } from './kube/client.ts';
import { listPath, objectPath, resources } from './kube/paths.ts';
import { leaderIpOf, Operator } from './operator.ts';
import {
  OPERATOR_NAMESPACE,
  startApiServer,
  type TestApiServer,
} from './testing/adapters/apiServer.ts';
import { TEST_FLEET } from './testing/adapters/controllersSetup.ts';
import { FakeDataSide } from './testing/fakeDataSide.ts';
import { fasterClock } from './testing/fasterClock.ts';

interface Lease {
  spec: { holderIdentity: string };
}

describe('the operator', () => {
  let server: TestApiServer;

  beforeAll(async () => {
    server = await startApiServer();
  });
  afterAll(() => server?.stop());

  async function start(podIp: string, clock: Clock = systemClock) {
    const metricsPort = await freePort();
    const database = Promise.withResolvers<void>();
    const story: string[] = [];
    const fake = new FakeDataSide();
    const client = Promise.withResolvers<KubeClient>();
    let ready = false;
    const lost = Promise.withResolvers<(error: Error) => void>();
    let away: { sinceMs: number } | undefined = { sinceMs: clock.now() };
    let hangs = false;
    const dataSide: DataSide = {
      coordinator: fake,
      epochs: fake,
      troubles: { ...fake.troubles, isDatabaseAway: () => away !== undefined },
      start: async () => {
        await database.promise;
        away = undefined;
        ready = true;
      },
      databaseState: () => (away ? { kind: 'away', ...away } : { kind: 'answers' }),
      lead: async (term) => {
        story.push(`lead ${term}`);
      },
      flush: async () => {
        story.push('flush');
        if (away) throw new Error('the database is away');
      },
      stepDown: () => story.push('stepDown'),
      stop: async () => {
        story.push('stop');
        if (hangs) await new Promise(() => {});
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
        clock,
        random: { next: Math.random, bytes: (count) => Buffer.alloc(count, 1) },
        wallTime: () => new Date().toISOString(),
        logger: createLogger({ silent: true }),
        newDataSide: (environment) => {
          client.resolve(environment.client);
          lost.resolve(environment.onLost);
          return dataSide;
        },
      },
    );
    const running = operator.run();
    const get = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${metricsPort}${path}`);
      return { status: response.status, text: await response.text() };
    };
    const loseDatabase = () => {
      away = { sinceMs: clock.now() };
    };
    const loseAndHang = async (error: Error) => {
      hangs = true;
      (await lost.promise)(error);
    };
    return {
      ...{ operator, running, get, story, database, loseDatabase, loseAndHang },
      client: client.promise,
    };
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

  it('gives the Lease to a replica that has the database when it has had none for a while', async () => {
    const first = await start('10.0.0.4');
    const ended = first.running.catch((error: unknown) => error);
    first.database.resolve();
    await vi.waitFor(() => expect(first.story).toHaveLength(1), 10_000);
    const second = await start('10.0.0.5');
    second.database.resolve();
    first.loseDatabase();
    expect(await ended).toMatchObject({ code: 'DatabaseAway' });
    expect(first.story.slice(1)).toEqual(['flush', 'stepDown', 'stop']);
    await vi.waitFor(() => expect(second.story).toHaveLength(1), 5_000);
    // Started anew, it waits.
    const again = await start('10.0.0.4');
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    expect(await leader()).toBe('10.0.0.5');
    expect((await again.get('/readyz')).status).toBe(503);
    for (const { operator, running } of [again, second]) {
      operator.stop();
      await running;
    }
  }, 90_000);

  it('that starts while the database is away keeps a deleted Distribution for a minute, and no longer', async () => {
    const name = { namespace: 'default', name: 'deleted' };
    const { apiVersion, kind } = resources.distributions;
    await server.admin.request({
      method: 'POST',
      path: listPath(resources.distributions, 'default'),
      body: {
        apiVersion,
        kind,
        metadata: { ...name, finalizers: [FINALIZER] },
        spec: { source: { url: 'http://o.example.com/f' }, target: { path: 'deleted' } },
      },
    });
    const path = objectPath(resources.distributions, name);
    await server.admin.request({ method: 'DELETE', path });
    // Twice as fast: to take the Lease, and the minute from then on.
    const { operator, running, story } = await start('10.0.0.6', fasterClock(systemClock, 2));
    const isGone = () =>
      expect(server.admin.request({ method: 'GET', path })).rejects.toMatchObject({
        code: 'NotFound',
      });
    await vi.waitFor(isGone, { timeout: 80_000, interval: 500 });
    expect(story, 'it does not lead').toEqual([]);
    operator.stop();
    await running;
  }, 120_000);

  it('that cannot go on ends, also when not all of it does', async () => {
    const { database, loseAndHang, running, story } = await start(
      '10.0.0.7',
      fasterClock(systemClock, 4),
    );
    database.resolve();
    await vi.waitFor(() => expect(story).toHaveLength(1), 10_000);
    await loseAndHang(new Error('another one leads'));
    await expect(running).rejects.toThrow('another one leads');
    expect(story).toContain('stop');
  }, 30_000);

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
