/**
 * Random things happen to a cluster with Sluice; when it has come to rest, cluster, database and
 * disks must say what was asked for, and the origin's meter that its limits held. Each seed has a
 * cluster of its own. What fails names its seed, and ends the program.
 *   node bench/randomRun.ts [--seeds 1,2,3,4,5] [--steps 50] [--nodes 4] [--zones 2]
 */
import { parseArgs } from 'node:util';
import { type Cluster, startCluster } from '../e2e/cluster/cluster.ts';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { sluiceImages } from '../e2e/cluster/images.ts';
import { originResource } from '../e2e/install/resources.ts';
import { archivesOf, installSluice, type Sluice } from '../e2e/install/sluice.ts';
import { mostStatusWrites, WINDOW_MS } from '../e2e/install/statusWrites.ts';
import { RandomRun, type Rest } from '../e2e/randomRun/randomRun.ts';
import { LIMITS } from '../e2e/scenarios/limits.ts';
import { figureOf } from './lib/figures.ts';
import { partName, record } from './lib/record.ts';

const SEEDS = '1,2,3,4,5';
const STEPS_BETWEEN_RESTS = 8;
/** Short: every rest waits until they are gone. */
const RELAY_IDLE_SECONDS = 6;
/** The node that one of them is on may be lost. */
const OPERATOR_REPLICAS = 2;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: SEEDS },
    steps: { type: 'string', default: '50' },
    nodes: { type: 'string', default: '4' },
    zones: { type: 'string', default: '2' },
  },
});
const signal = abortOnSignal();
const steps = Number(values.steps);
const nodes = Number(values.nodes);
const zones = Number(values.zones);
const log = console.log;

interface Run {
  readonly seed: number;
  readonly steps: number;
  readonly rests: readonly Rest[];
  readonly mostConnections: number;
  readonly mostBytesInASecond: number;
  readonly mostStatusWrites: number;
}

try {
  const images = await sluiceImages({ log });
  const runs: Run[] = [];
  for (const seed of values.seeds.split(',').map(Number)) {
    const cluster = await startCluster({ nodes, zones, images: archivesOf(images), log, signal });
    try {
      const sluice = await installSluice(cluster, images, {
        relayIdleSeconds: RELAY_IDLE_SECONDS,
        nodeLabels: true,
        operatorReplicas: OPERATOR_REPLICAS,
      });
      const run = await play(sluice, seed);
      runs.push(run);
      if (wrongOf(run).length === 0) continue;
      for (const what of wrongOf(run)) console.error(`seed ${seed}: ${what}`);
      await cluster.dumpState(`e2e/results/random-${seed}`);
      break;
    } finally {
      await cluster.stop();
    }
  }
  if (!(await recordAll(runs))) process.exitCode = 1;
} catch (error) {
  failWith('bench', signal.aborted ? signal.reason : error);
}

async function play(sluice: Sluice, seed: number): Promise<Run> {
  const { cluster } = sluice;
  await sluice.apply(originResource('random', 'origin.sluice.test', LIMITS));
  const losable = await nodesWithoutDatabase(cluster, sluice);
  log(`seed ${seed}: ${losable.join(', ')} may be lost`);
  const stepsBetweenRests = STEPS_BETWEEN_RESTS;
  const options = { seed, steps, stepsBetweenRests, losable, log, signal };
  try {
    const rests = await new RandomRun(sluice, options).play();
    const { connections, maxOneSecondWindowBytes } = await cluster.origin.stats();
    return {
      seed,
      steps,
      rests,
      mostConnections: connections.peak,
      mostBytesInASecond: maxOneSecondWindowBytes,
      mostStatusWrites: await mostStatusWrites(cluster),
    };
  } catch (error) {
    if (!signal.aborted) await cluster.dumpState(`e2e/results/random-${seed}`);
    throw error;
  } finally {
    await sluice.read.close();
  }
}

/** Its disk is on one node, and what is lost with it nobody promises to bring back. */
async function nodesWithoutDatabase(cluster: Cluster, sluice: Sluice): Promise<string[]> {
  const hosts = new Set((await sluice.pods('mongodb')).map(({ node }) => node));
  return cluster.nodes.map(({ name }) => name).filter((name) => !hosts.has(name));
}

function wrongOf({ rests }: Run): string[] {
  return rests.flatMap(({ differences }) => differences);
}

function recordAll(runs: readonly Run[]): Promise<boolean> {
  const never = { atMost: 0, judgedBy: 'everyRun' } as const;
  const within = { atMost: 1, judgedBy: 'everyRun' } as const;
  const rests = runs.flatMap((run) => run.rests);
  return record({
    name: partName('randomRun', values.seeds, SEEDS),
    command: `make bench NAME=randomRun ARGS='--seeds ${values.seeds} --steps ${steps}'`,
    about: `${steps} random steps with each of ${runs.length} seeds on ${nodes} nodes in ${zones} zones, with ${OPERATOR_REPLICAS} replicas of the operator: Distributions applied, edited, deleted; nodes cordoned, drained, switched off, deleted and installed anew; processes killed, evicted, frozen and rolled out; the origin away; files and objects spoilt by somebody else. After each ${STEPS_BETWEEN_RESTS} it is left alone until cluster, database and disks agree, five minutes at most.`,
    runs,
    figures: [
      figureOf(
        'wrong end states',
        '',
        runs.map((run) => wrongOf(run).length),
        never,
      ),
      figureOf(
        'steps',
        '',
        runs.map((run) => run.rests.at(-1)?.afterSteps ?? 0),
      ),
      figureOf(
        'until at rest',
        's',
        rests.map(({ seconds }) => seconds),
      ),
      figureOf(
        'most events of one Distribution between two rests',
        '',
        rests.map(({ mostEvents }) => mostEvents),
      ),
      figureOf(
        `most writes of a status in ${WINDOW_MS / 1000} s`,
        '',
        runs.map((run) => run.mostStatusWrites),
        { atMost: WINDOW_MS / 1000 + 1, judgedBy: 'everyRun' },
      ),
      figureOf(
        'most connections at the origin / limit',
        '',
        runs.map(({ mostConnections }) => mostConnections / LIMITS.maxConnections),
        within,
      ),
      figureOf(
        'most bytes in a second at the origin / limit',
        '',
        runs.map(({ mostBytesInASecond }) => mostBytesInASecond / LIMITS.maxBandwidth),
        within,
      ),
    ],
  });
}
