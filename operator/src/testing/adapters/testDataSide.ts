/** The data side of an operator's process, for a replica that leads when a test says so. */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { Registry } from 'prom-client';
import type { Logger } from 'winston';
import { parseConfig } from '../../config.ts';
import type { DataSide } from '../../controllers/dataSide.ts';
import type { KubeClient } from '../../kube/client.ts';
import { newDataSide } from '../../server/dataSide.ts';
import { steadyRandom } from '../fakeClock.ts';
import { OPERATOR_NAMESPACE } from './apiServer.ts';
import type { TestDatabase } from './testDatabase.ts';

export function newTestDataSide(
  { uri }: Pick<TestDatabase, 'uri'>,
  client: KubeClient,
  logger: Logger,
  clock: Clock = systemClock,
): DataSide {
  const config = parseConfig({
    SLUICE_NAMESPACE: OPERATOR_NAMESPACE,
    SLUICE_POD_NAME: 'sluice-operator-1',
    SLUICE_MONGODB_URI: uri,
    SLUICE_RELAY_IMAGE: 'relay:1',
    SLUICE_AGENT_IMAGE: 'agent:1',
  });
  return newDataSide(
    { ...config, controlPort: 0 },
    {
      client,
      registry: new Registry(),
      random: steadyRandom,
      isLeader: () => true,
      leaderIp: () => undefined,
      nextLeaderIp: () => undefined,
      renewalSeenMs: () => undefined,
      onLost: () => {},
      clock,
      logger,
    },
  );
}
