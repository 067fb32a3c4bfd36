/**
 * Ends the clusters that `make cluster` left, or only the ones that are named; those of tests and
 * demos that run stay.
 *   node e2e/cluster/down.ts [sluice-1234abcd ...]
 */
import { runningClusters } from './cluster.ts';
import { failWith } from './command.ts';

try {
  const names = process.argv.slice(2);
  for (const cluster of await runningClusters()) {
    const isMeant = names.length === 0 ? cluster.detached : names.includes(cluster.name);
    if (!isMeant) continue;
    await cluster.stop();
    console.log(`cluster: ${cluster.name} has ended`);
  }
} catch (error) {
  failWith('clean', error);
}
