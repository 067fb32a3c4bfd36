/** The agent: brings files to its node, makes them visible and gives them to other nodes. */

import { ConfigurationError } from '@sluice/protocol/client/environment.ts';
import { realFolder } from '@sluice/protocol/client/epochFolders.ts';
import { AgentProcess } from './agentProcess.ts';
import { type AgentConfig, readConfig } from './config.ts';
import { errorFields, processLogger } from './logger.ts';

/** Less than the 10 s that a pod gets. */
const STOP_MS = 8_000;

function configOrExit(): AgentConfig {
  try {
    return readConfig();
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    console.error(error.message);
    process.exit(2);
  }
}

const config = configOrExit();
const logger = processLogger(config.logLevel);

// What nobody has caught leaves the process in an unknown state: the next one resumes from disk.
process.on('uncaughtException', (error) => {
  logger.error('agent failed', { ...errorFields(error), stack: error.stack });
  process.exit(1);
});
const root = await realFolder(config.root);
const agent = new AgentProcess({ ...config, root }, { logger, wallClock: () => Date.now() });

let stopping = false;
async function stop(signal: string): Promise<void> {
  if (stopping) return;
  stopping = true;
  logger.info('agent stopping', { signal });
  setTimeout(() => process.exit(1), STOP_MS).unref();
  await agent.stop();
  process.exit(0);
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);

await agent.start();
