/** An operator whose database is away in the very moment in which it is to lead. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { startApiServer, type TestApiServer } from '../testing/adapters/apiServer.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { newTestDataSide } from '../testing/adapters/testDataSide.ts';

let api: TestApiServer;
let database: TestDatabase;

beforeAll(async () => {
  [api, database] = await Promise.all([startApiServer(), startTestDatabase()]);
});
afterAll(() => Promise.all([api?.stop(), database?.stop()]));

it('leads as soon as it is back, in the same process', async () => {
  const logger = createLogger({ silent: true });
  const warned = vi.spyOn(logger, 'warn');
  const side = newTestDataSide(database, api.operator, logger);
  const stop = new AbortController();
  try {
    expect(side.databaseState().kind).toBe('away');
    await side.start(stop.signal);
    expect(side.databaseState().kind).toBe('answers');
    await database.freeze();
    let leads = false;
    const led = side.lead(1, stop.signal).then(() => {
      leads = true;
    });
    const isTold = () => warned.mock.calls.some(([text]) => String(text).includes('does not lead'));
    await vi.waitFor(() => expect(isTold()).toBe(true), { timeout: 30_000, interval: 50 });
    expect(leads).toBe(false);
    const isAway = () => expect(side.databaseState().kind).toBe('away');
    await vi.waitFor(isAway, { timeout: 20_000, interval: 50 });
    await database.goOn();
    await led;
    expect(leads).toBe(true);
  } finally {
    await database.goOn();
    stop.abort();
    await side.stop();
  }
});
