/** A thread of quotaFaults: one world after the other, as it is asked. */
import { parentPort } from 'node:worker_threads';
import { type QuotaTrial, tryQuotaWorld } from '@sluice/operator/sim/randomQuotaWorld.ts';

parentPort?.on('message', async (trial: QuotaTrial) => {
  parentPort?.postMessage(await tryQuotaWorld(trial));
});
