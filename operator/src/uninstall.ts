/** The process of the chart's uninstall hook: once, and with an error when it could not. */
import { KubeConfig } from '@kubernetes/client-node';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { readUninstallConfig } from './config.ts';
import { letGo } from './controllers/distribution/letGo.ts';
import { KubeClient } from './kube/client.ts';
import { newLogger } from './logger.ts';

const config = readUninstallConfig();
const kubeConfig = new KubeConfig();
kubeConfig.loadFromDefault();
const client = new KubeClient({}, { config: kubeConfig });
const logger = newLogger(config.logLevel);
try {
  // The Job that runs it has a deadline.
  await letGo(config, { client, clock: systemClock, logger }, new AbortController().signal);
} finally {
  await client.close();
}
