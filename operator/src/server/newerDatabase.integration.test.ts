/** An operator that finds a database to which a release to come has written. */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { parseConfig } from '../config.ts';
import type { KubeClient } from '../kube/client.ts';
import { Schema, schema } from '../store/schema.ts';
import { SchemaMark } from '../store/schemaMark.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { steadyRandom } from '../testing/fakeClock.ts';
import { newDataSide } from './dataSide.ts';

let server: TestDatabase;

beforeAll(async () => {
  server = await startTestDatabase();
});
afterAll(() => server?.stop());

it('says so, is not ready, does not lead, and leaves everything as it is', async () => {
  const newest = schema.newest + 1;
  const steps = Array.from({ length: newest }, () => ({ up: {}, down: {} }));
  await new SchemaMark(server.database, new Schema(steps, newest)).claim();
  const logger = createLogger({ silent: true });
  const said = vi.spyOn(logger, 'error');
  const config = parseConfig({
    SLUICE_NAMESPACE: 'sluice-system',
    SLUICE_POD_NAME: 'sluice-operator-1',
    SLUICE_MONGODB_URI: `mongodb://${server.client.options.hosts[0]}/sluice`,
    SLUICE_RELAY_IMAGE: 'relay:1',
    SLUICE_AGENT_IMAGE: 'agent:1',
  });
  const side = newDataSide(config, {
    // Nobody comes to ask Kubernetes for anything.
    client: {} as KubeClient,
    registry: new Registry(),
    random: steadyRandom,
    isLeader: () => true,
    leaderIp: () => undefined,
    onLost: () => {},
    clock: systemClock,
    logger,
  });
  const stop = new AbortController();
  const started = side.start(stop.signal).then(
    () => 'started',
    () => 'stopped',
  );
  try {
    await vi.waitFor(() => expect(said).toHaveBeenCalled(), { timeout: 10_000, interval: 20 });
    expect(said.mock.calls[0]).toMatchObject([
      'the database is left alone',
      { code: 'NewerSchema', message: expect.stringContaining(`schema version ${newest}`) },
    ]);
    expect(side.ready()).toBe(false);
    await expect(side.lead(1, stop.signal)).rejects.toMatchObject({ code: 'NewerSchema' });
    const collections = await server.database.listCollections().toArray();
    expect(collections.map(({ name }) => name)).toEqual(['schema']);
  } finally {
    stop.abort();
    expect(await started).toBe('stopped');
    await side.stop();
  }
});
