/**
 * Random things happen to a cluster with Sluice; when it has come to rest, cluster, database and
 * disks must say what was asked for, and the origin's meter that its limits held. What fails names
 * its seed.
 *   node bench/randomRun.ts [--seed 1] [--steps 200] [--nodes 4] [--zones 2]
 */
import { parseArgs } from 'node:util';
import { startCluster } from '../e2e/cluster/cluster.ts';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { sluiceImages } from '../e2e/cluster/images.ts';
import { originResource } from '../e2e/install/resources.ts';
import { archivesOf, installSluice } from '../e2e/install/sluice.ts';
import { RandomRun } from '../e2e/randomRun/randomRun.ts';
import { LIMITS } from '../e2e/scenarios/limits.ts';
import { figureOf } from './lib/figures.ts';
import { record } from './lib/record.ts';

const STEPS_BETWEEN_RESTS = 8;
const RELAY_IDLE_SECONDS = 15;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '200' },
    nodes: { type: 'string', default: '4' },
    zones: { type: 'string', default: '2' },
  },
});
const signal = abortOnSignal();
const seed = Number(values.seed);
const steps = Number(values.steps);
const log = console.log;

try {
  const images = await sluiceImages({ log });
  const nodes = Number(values.nodes);
  const zones = Number(values.zones);
  const cluster = await startCluster({ nodes, zones, images: archivesOf(images), log, signal });
  try {
    const change = { relayIdleSeconds: RELAY_IDLE_SECONDS, nodeLabels: true };
    const sluice = await installSluice(cluster, images, change);
    await sluice.apply(originResource('random', 'origin.sluice.test', LIMITS));
    const stepsBetweenRests = STEPS_BETWEEN_RESTS;
    const rests = await new RandomRun(sluice, {
      seed,
      steps,
      stepsBetweenRests,
      log,
      signal,
    }).play();
    const { connections, maxOneSecondWindowBytes } = await cluster.origin.stats();
    await sluice.read.close();
    const wrong = rests.flatMap(({ differences }) => differences);
    for (const what of wrong) console.error(what);
    if (wrong.length > 0) await cluster.dumpState(`e2e/results/random-${seed}`);
    const never = { atMost: 0, judgedBy: 'everyRun' } as const;
    const holds = await record({
      name: 'randomRun',
      about: `${steps} random steps, seed ${seed}, on ${nodes} nodes in ${zones} zones: Distributions applied, edited, deleted; nodes cordoned and drained; processes killed and evicted. After each ${stepsBetweenRests} it is left alone until cluster, database and disks agree, five minutes at most.`,
      runs: rests,
      figures: [
        figureOf('wrong end states', '', [wrong.length], never),
        figureOf(
          'until at rest',
          's',
          rests.map(({ seconds }) => seconds),
        ),
        figureOf(
          'most connections at the origin / limit',
          '',
          [connections.peak / LIMITS.maxConnections],
          { atMost: 1, judgedBy: 'everyRun' },
        ),
        figureOf(
          'most bytes in a second at the origin / limit',
          '',
          [maxOneSecondWindowBytes / LIMITS.maxBandwidth],
          { atMost: 1, judgedBy: 'everyRun' },
        ),
      ],
    });
    if (!holds) process.exitCode = 1;
  } finally {
    await cluster.stop();
  }
} catch (error) {
  failWith('bench', signal.aborted ? signal.reason : error);
}
