/**
 * The leader is killed: real operators on a real kube-apiserver, etcd and database, each on a host
 * of its own behind a Service, and agents that speak the real control API. When does the last of
 * them have its work stream with the next leader, and what does that cost?
 *   node bench/leaderChange.ts [--agents 100,1000,10000] [--kills 3] [--replicas 4] [--transfer 5] [--profile FOLDER]
 * Replicas that are killed come back when nobody stands by any more.
 * --transfer: seconds; what takes more than 900 goes on while leaders are killed.
 */
import { parseArgs } from 'node:util';
import { LEADER_ELECTION } from '@sluice/operator/kube/leaderElection.ts';
import { figureOf } from './lib/figures.ts';
import { ownArguments, runBenchmark } from './lib/namespaces.ts';
import { partName, record } from './lib/record.ts';
import { type LeaderChangeRun, runLeaderChanges } from './lib/scale/leaderChangeRun.ts';

const ALL_AGENTS = '100,1000,10000';
/** Nobody else may lead before the Lease is over; then the next one has to see that and to write. */
const HELD_WITHIN_SECONDS = LEADER_ELECTION.durationMs / 1000 + 2;

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    agents: { type: 'string', default: ALL_AGENTS },
    kills: { type: 'string', default: '3' },
    replicas: { type: 'string', default: '4' },
    transfer: { type: 'string', default: '5' },
    profile: { type: 'string' },
  },
});

await runBenchmark(import.meta.filename, measure);

async function measure(signal: AbortSignal): Promise<boolean> {
  const runs: LeaderChangeRun[] = [];
  let holds = true;
  const kills = Number(values.kills);
  const replicas = Number(values.replicas);
  const transferMs = Number(values.transfer) * 1000;
  const { profile } = values;
  for (const agents of values.agents.split(',').map(Number)) {
    runs.push(await runLeaderChanges({ agents, kills, replicas, transferMs, profile }, signal));
    // What was measured stays when a larger cluster cannot be.
    holds = await recordRuns(runs);
  }
  return holds;
}

function recordRuns(runs: readonly LeaderChangeRun[]): Promise<boolean> {
  const args = ownArguments().join(' ');
  return record({
    name: partName('leaderChange', values.agents, ALL_AGENTS),
    command: `make bench NAME=leaderChange${args === '' ? '' : ` ARGS='${args}'`}`,
    about: [
      'Operators as in their image, on kube-apiserver, etcd and FerretDB of the test cluster; nodes',
      'and pods are objects, agents speak the control API over TLS and only count their bytes, all on',
      'one machine. The leader is killed with SIGKILL, and its endpoint goes a second later. Memory in MB of 10^6 bytes.',
    ].join(' '),
    runs,
    figures: runs.flatMap(figuresOf),
  });
}

function figuresOf({ agents, start, changes }: LeaderChangeRun) {
  const figure = (
    what: string,
    unit: string,
    measured: readonly number[],
    goal?: Parameters<typeof figureOf>[3],
  ) => figureOf(`${agents} agents: ${what}`, unit, measured, goal);
  const each = (pick: (change: LeaderChangeRun['changes'][number]) => number) => changes.map(pick);
  return [
    figure(
      'Lease held to all agents there',
      's',
      each((change) => change.secondsUntilAllReached),
      { atMost: 10, judgedBy: 'median' },
    ),
    figure(
      'Lease held to half of them there',
      's',
      each((change) => change.secondsUntilHalfReached),
    ),
    figure(
      'kill to Lease held',
      's',
      each((change) => change.secondsUntilLeaseHeld),
      { atMost: HELD_WITHIN_SECONDS, judgedBy: 'median' },
    ),
    figure(
      'kill to all agents there',
      's',
      each((change) => change.secondsFromKillUntilAllReached),
    ),
    figure(
      'TokenReviews in any second',
      '',
      each((change) => change.reviewsInAnySecond),
      { atMost: 100, judgedBy: 'everyRun' },
    ),
    figure(
      'answers 307',
      '',
      each((change) => change.redirected),
    ),
    figure(
      'TLS connections made',
      '',
      each((change) => change.connections),
    ),
    figure(
      'processor of the next leader until then',
      's',
      each((change) => change.leaderProcessorSeconds),
    ),
    figure(
      'most memory of the next leader',
      'MB',
      each((change) => change.leaderPeakRssMb),
    ),
    figure('TokenReviews in any second while all start', '', [start.reviewsInAnySecond]),
  ];
}
