/** An operator that finds a database to which a release to come has written. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import type { KubeClient } from '../kube/client.ts';
import { Schema, schema } from '../store/schema.ts';
import { SchemaMark } from '../store/schemaMark.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { newTestDataSide } from '../testing/adapters/testDataSide.ts';

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
  // Nobody comes to ask Kubernetes for anything.
  const side = newTestDataSide(server, {} as KubeClient, logger);
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
