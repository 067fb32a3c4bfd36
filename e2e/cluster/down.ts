/** Ends the clusters that `make cluster` left; those of tests and demos that run stay. */
import { runningClusters } from './cluster.ts';
import { failWith } from './command.ts';

try {
  for (const cluster of await runningClusters()) {
    if (!cluster.detached) continue;
    await cluster.stop();
    console.log(`cluster: ${cluster.name} has ended`);
  }
} catch (error) {
  failWith('clean', error);
}
