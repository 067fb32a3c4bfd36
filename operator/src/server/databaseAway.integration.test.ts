/** An operator whose database is away in the very moment in which it is to lead. */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { parseConfig } from '../config.ts';
import {
  OPERATOR_NAMESPACE,
  startApiServer,
  type TestApiServer,
} from '../testing/adapters/apiServer.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { steadyRandom } from '../testing/fakeClock.ts';
import { newDataSide } from './dataSide.ts';

let api: TestApiServer;
let database: TestDatabase;

beforeAll(async () => {
  [api, database] = await Promise.all([startApiServer(), startTestDatabase()]);
});
afterAll(() => Promise.all([api?.stop(), database?.stop()]));

it('leads as soon as it is back, in the same process', async () => {
  const logger = createLogger({ silent: true });
  const warned = vi.spyOn(logger, 'warn');
  const config = parseConfig({
    SLUICE_NAMESPACE: OPERATOR_NAMESPACE,
    SLUICE_POD_NAME: 'sluice-operator-1',
    SLUICE_MONGODB_URI: database.uri,
    SLUICE_RELAY_IMAGE: 'relay:1',
    SLUICE_AGENT_IMAGE: 'agent:1',
  });
  const side = newDataSide(
    { ...config, controlPort: 0 },
    {
      client: api.operator,
      registry: new Registry(),
      random: steadyRandom,
      isLeader: () => true,
      leaderIp: () => undefined,
      onLost: () => {},
      clock: systemClock,
      logger,
    },
  );
  const stop = new AbortController();
  try {
    await side.start(stop.signal);
    await database.freeze();
    let leads = false;
    const led = side.lead(1, stop.signal).then(() => {
      leads = true;
    });
    const isTold = () => warned.mock.calls.some(([text]) => String(text).includes('does not lead'));
    await vi.waitFor(() => expect(isTold()).toBe(true), { timeout: 30_000, interval: 50 });
    expect(leads).toBe(false);
    await database.goOn();
    await led;
    expect(leads).toBe(true);
  } finally {
    await database.goOn();
    stop.abort();
    await side.stop();
  }
});
