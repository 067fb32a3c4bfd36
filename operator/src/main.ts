/** The operator's process: settings, signals, exit codes. Everything else is in operator.ts. */
import { randomBytes } from 'node:crypto';
import { KubeConfig } from '@kubernetes/client-node';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { newLogger } from './logger.ts';
import { Operator } from './operator.ts';
import { newDataSide } from './server/dataSide.ts';

function configOrExit(): Config {
  try {
    return readConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    process.exit(2);
  }
}

const config = configOrExit();
const logger = newLogger(config.logLevel);
const kubeConfig = new KubeConfig();
kubeConfig.loadFromDefault();

const operator = new Operator(config, {
  kubeConfig,
  clock: systemClock,
  random: { next: Math.random, bytes: randomBytes },
  wallTime: () => new Date().toISOString(),
  logger,
  newDataSide: (environment) => newDataSide(config, { ...environment, clock: systemClock, logger }),
});

for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => {
    logger.info('stopping', { signal: name });
    operator.stop();
  });
}
process.on('unhandledRejection', (error) => {
  logger.error('a promise was rejected and nobody saw it', { error });
  process.exit(1);
});

try {
  await operator.run();
  logger.info('stopped');
  process.exit(0);
} catch (error) {
  // Kubernetes starts it anew; a clean process is easier to be right about than a mended one.
  logger.error('the operator cannot go on', { error });
  process.exit(1);
}
