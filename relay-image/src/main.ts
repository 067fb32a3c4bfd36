/** The relay: pulls files from origins under leases and serves them to the nodes of its domain. */
import { ConfigurationError } from '@sluice/protocol/client/environment.ts';
import { realFolder } from '@sluice/protocol/client/epochFolders.ts';
import { type RelayConfig, readConfig } from './config.ts';
import { errorFields, processLogger } from './logger.ts';
import { RelayProcess } from './relayProcess.ts';

/** Of the 30 s that a pod gets: what it alone has is given away meanwhile. */
const DRAIN_MS = 20_000;
/** Leases may take 5 to be settled. */
const STOP_MS = 8_000;

function configOrExit(): RelayConfig {
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
  logger.error('relay failed', { ...errorFields(error), stack: error.stack });
  process.exit(1);
});
const cacheFolder = await realFolder(config.cacheFolder);
const relay = new RelayProcess({ ...config, cacheFolder }, { logger, wallClock: () => Date.now() });

let stopping = false;
async function stop(signal: string): Promise<void> {
  if (stopping) return;
  stopping = true;
  logger.info('relay stopping', { signal });
  setTimeout(() => process.exit(1), DRAIN_MS + STOP_MS).unref();
  await relay.stop(AbortSignal.timeout(DRAIN_MS));
  process.exit(0);
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);

await relay.start();
