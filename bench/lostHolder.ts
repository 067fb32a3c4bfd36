/**
 * Two processes share an origin, each with about half of its limit, and one is killed: how soon the
 * limit is in use again, and what is charged that was not taken. Relays are killed, agents that
 * stand in for relays, and the leader of two operators, over and over in one cluster; a new file
 * each run.
 * `--rounds` are those in which relays are killed.
 *   node bench/lostHolder.ts [--rounds 2]
 */
import { parseArgs } from 'node:util';
import { type Cluster, startCluster } from '../e2e/cluster/cluster.ts';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { sluiceImages } from '../e2e/cluster/images.ts';
import { type OriginLimits, originResource } from '../e2e/install/resources.ts';
import { archivesOf, installSluice, NAMESPACE, type Sluice } from '../e2e/install/sluice.ts';
import { type CrashRun, lostHolderFigures, type Victim } from './lib/lostHolderFigures.ts';
import { JournalWatch } from './lib/lostHolderJournal.ts';
import { crashRun, type Stage } from './lib/lostHolderRun.ts';
import { record } from './lib/record.ts';

const MIB = 1024 * 1024;
/** One in each of two zones: as few processes as share a limit. */
const NODES = 2;
const ZONES = 2;
/** In a round: each of the two twice. The second time its kubelet waits before it starts it again. */
const HOLDERS_KILLED = 4;
const LEADERS_KILLED = 2;
const LIMITS: OriginLimits = {
  maxConnections: 4,
  maxBandwidth: 8 * MIB,
  maxTraffic: { bytes: 1024 * 1024 * MIB, period: '24h' },
};

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '2' },
  },
});
const signal = abortOnSignal();
const log = console.log;

try {
  const images = await sluiceImages({ log, signal });
  const archives = archivesOf(images);
  const cluster = await startCluster({ nodes: NODES, zones: ZONES, images: archives, log, signal });
  try {
    const sluice = await installSluice(cluster, images);
    await sluice.apply(originResource('lost-holder', 'origin.sluice.test', LIMITS));
    const runs = await runAll(sluice);
    const holds = await record({
      name: 'lostHolder',
      about: `Two processes pull a file under an origin's limits of ${LIMITS.maxConnections} connections and ${LIMITS.maxBandwidth} bytes in any second, each with about half; one is killed with SIGKILL. Its kubelet starts it again at once the first time, and after 10 s the second time. Seconds are counted from the kill; the limit is in use again from the first second on in which the origin's meter counts 90 % of it. ${NODES} nodes in ${ZONES} zones on the one machine.`,
      runs,
      figures: lostHolderFigures(runs, LIMITS),
    });
    if (!holds) process.exitCode = 1;
    await sluice.read.close();
  } catch (error) {
    await cluster.dumpState('e2e/results/lostHolder');
    throw error;
  } finally {
    await cluster.stop();
  }
} catch (error) {
  failWith('bench', signal.aborted ? signal.reason : error);
}

async function runAll(sluice: Sluice): Promise<CrashRun[]> {
  const { cluster } = sluice;
  const journal = await JournalWatch.open(cluster);
  journal.start();
  try {
    const stage = { sluice, journal, limits: LIMITS, signal };
    const runs: CrashRun[] = [];
    for (let round = 0; round < Number(values.rounds); round += 1) {
      await removeRelays(cluster);
      runs.push(...(await runsOf(stage, 'relay', HOLDERS_KILLED)));
    }
    await withTwoOperators(cluster);
    runs.push(...(await runsOf(stage, 'leader', LEADERS_KILLED)));
    // None can be made any more, so agents stand in for them.
    await cluster.kubectl(['create', 'quota', 'no-more', '-n', NAMESPACE, '--hard=pods=1']);
    await removeRelays(cluster);
    runs.push(...(await runsOf(stage, 'agent', HOLDERS_KILLED)));
    return runs;
  } finally {
    await journal.close();
  }
}

async function runsOf(stage: Stage, victim: Victim, count: number): Promise<CrashRun[]> {
  const runs: CrashRun[] = [];
  for (let turn = 0; turn < count; turn += 1) {
    const name = `${victim}-${Date.now()}`;
    const run = await crashRun(stage, victim, name, turn);
    runs.push(run);
    log(JSON.stringify(run));
  }
  return runs;
}

async function withTwoOperators(cluster: Cluster): Promise<void> {
  const operator = ['deployment/sluice-operator', '-n', NAMESPACE];
  await cluster.kubectl(['scale', ...operator, '--replicas=2']);
  await cluster.kubectl(['rollout', 'status', ...operator, '--timeout=60s']);
}

/** Those that come instead have never crashed. */
async function removeRelays(cluster: Cluster): Promise<void> {
  const relays = ['-n', NAMESPACE, '-l', 'app.kubernetes.io/component=relay'];
  await cluster.kubectl(['delete', 'pods', ...relays, '--grace-period=5']);
}
