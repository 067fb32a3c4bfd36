/**
 * The floor: in the middle of a transfer BitTorrent is blocked, relays die or become slow, and
 * every node's link tells for how long it had less than `minRate`. And a floor that nobody can
 * keep, against the same without a floor.
 *   node bench/floor.ts [--runs 5] [--only refused,blackHoled,relayDead,relaySlow,unkeepable]
 */
import { parseArgs } from 'node:util';
import { type Figure, figureOf } from './lib/figures.ts';
import { EPISODES, type Episode } from './lib/floorEpisodes.ts';
import { type FloorRun, floorRun } from './lib/floorRun.ts';
import { ownArguments, runBenchmark } from './lib/namespaces.ts';
import { ratePicture } from './lib/ratePicture.ts';
import { record, writeResult } from './lib/record.ts';
import { describeLinks, type Setup } from './lib/setups.ts';
import { sluice } from './lib/sluice.ts';
import { type SwarmRun, swarmRun } from './lib/swarmRun.ts';

const MIB = 1024 * 1024;
const FLOOR = 3 * MIB;
const UNKEEPABLE = 'unkeepable';
const MAX_UNDER_SECONDS = 2;
/** Two series that should not differ, on a machine that others use. */
const NEVER_SLOWER = 1.02;
const MAX_CPU_SHARE = 0.9;
const TIMEOUT_SECONDS = 300;
/** Before the episode and after it. */
const PICTURED = { fromSeconds: -4, toSeconds: 12 };

const link = (down: number, up: number) => ({ down, up });

/** The relay has the whole file before the episode, so that every piece is named. */
const SETUP: Setup = {
  name: 'floor',
  about: 'four nodes that download at 5 MiB/s, with a floor of 3 MiB/s',
  sizeMiB: 96,
  origin: 250,
  relays: [link(200, 200)],
  nodes: Array.from({ length: 4 }, () => link(100, 100)),
  delivery: {
    minRate: FLOOR,
    maxRate: 5 * MIB,
    topUp: ['Relay', 'Origin'],
    maxOriginShare: 1,
  },
};

/** Nodes that give a fifth of what they take: no more than 6 MB/s each, where 20 are asked for. */
const TIGHT: Setup = {
  name: UNKEEPABLE,
  about: 'a floor of 20 MB/s where origin, relay and nodes together give each node 6',
  sizeMiB: 64,
  origin: 50,
  relays: [link(100, 100)],
  nodes: Array.from({ length: 4 }, () => link(100, 20)),
};
const HELP = { topUp: ['Relay', 'Origin'], maxOriginShare: 1 } as const;

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: [...EPISODES.map(({ name }) => name), UNKEEPABLE].join(',') },
  },
});

interface Pair {
  readonly floor: SwarmRun;
  readonly none: SwarmRun;
}

await runBenchmark(import.meta.filename, measure);

async function measure(signal: AbortSignal): Promise<boolean> {
  const names = values.only.split(',');
  const runs: FloorRun[] = [];
  const pairs: Pair[] = [];
  for (let round = 1; round <= Number(values.runs); round += 1) {
    for (const episode of EPISODES.filter(({ name }) => names.includes(name))) {
      runs.push(await one(episode, round, signal));
    }
    if (names.includes(UNKEEPABLE)) pairs.push(await pair(round, signal));
  }
  const about = [
    `${SETUP.sizeMiB} MiB, ${SETUP.about}. ${describeLinks(SETUP)}`,
    ...EPISODES.map(({ name, about }) => `${name}: ${about}.`),
    `${UNKEEPABLE}: ${TIGHT.about}. ${describeLinks(TIGHT)}`,
    "Bytes by the nodes' links, in windows of one second, read each 50 ms.",
  ].join(' ');
  const figures = [...EPISODES.flatMap((episode) => figuresOf(episode, runs)), ...ratio(pairs)];
  if (runs.length > 0) await writeResult('floor.svg', picture(runs));
  // Curves are for the eye.
  const told = runs.map(({ rates, ...run }) => run);
  return record({ name: 'floor', about, runs: [...told, ...pairs], figures });
}

/** Of each episode the run that is in the middle by the node that was longest under its floor. */
function picture(runs: readonly FloorRun[]): string {
  const panels = EPISODES.flatMap(({ name, about }) => {
    const sorted = counted(runs, name).sort((a, b) => worstSeconds(a) - worstSeconds(b));
    const middle = sorted[sorted.length >> 1];
    if (middle === undefined) return [];
    return [{ name: `${name}: ${about}`, curves: Object.values(middle.rates) }];
  });
  return ratePicture({
    title: 'The floor: nodes whose BitTorrent is blocked, or whose relay dies or slows down',
    subtitle: `${SETUP.sizeMiB} MiB, ${SETUP.about}. It happens at 0 s; of each episode the median run`,
    floorBytesPerSecond: FLOOR,
    ...PICTURED,
    panels,
  });
}

async function one(episode: Episode, round: number, signal: AbortSignal): Promise<FloorRun> {
  const run = await floorRun(SETUP, episode, FLOOR, signal);
  const under = Object.values(run.underSeconds).map((seconds) => seconds.toFixed(2));
  const received = Object.entries(run.facts.receivedBytes ?? {})
    .map(([from, bytes]) => `${from} ${(bytes / MIB).toFixed(0)}`)
    .join(', ');
  console.log(
    `${episode.name}, round ${round}: under the floor ${under.join(', ')} s; ${run.seconds.toFixed(1)} s in all; MiB ${received}; processor ${(run.cpuBusyShare * 100).toFixed(0)} %`,
  );
  const isBusy = run.cpuBusyShare > MAX_CPU_SHARE;
  return { ...run, ...(isBusy && { leftOut: 'the processor was the limit' }) };
}

/** With the floor and without, in turns. */
async function pair(round: number, signal: AbortSignal): Promise<Pair> {
  const options = { signal, log: () => {}, timeoutSeconds: TIMEOUT_SECONDS };
  const none = await swarmRun({ ...TIGHT, delivery: HELP }, sluice, options);
  const delivery = { ...HELP, minRate: 20_000_000 };
  const floor = await swarmRun({ ...TIGHT, delivery }, sluice, options);
  console.log(
    `${UNKEEPABLE}, round ${round}: ${floor.seconds.toFixed(2)} s with the floor, ${none.seconds.toFixed(2)} s without`,
  );
  return { floor, none };
}

function figuresOf({ name }: Episode, runs: readonly FloorRun[]): Figure[] {
  const own = counted(runs, name);
  if (own.length === 0) return [];
  return [
    figureOf(`${name}: the longest that a node was under its floor`, 's', own.map(worstSeconds), {
      atMost: MAX_UNDER_SECONDS,
      judgedBy: 'median',
    }),
    figureOf(
      `${name}: nodes with another SHA-256`,
      'nodes',
      own.map(({ wrongNodes }) => wrongNodes.length),
      { atMost: 0, judgedBy: 'everyRun' },
    ),
    figureOf(
      `${name}: copies from the origin`,
      'copies',
      own.map(({ originCopies }) => originCopies),
    ),
  ];
}

function counted(runs: readonly FloorRun[], episode: string): FloorRun[] {
  return runs.filter((run) => run.episode === episode && run.leftOut === undefined);
}

/** Of the node that was longest under its floor. */
function worstSeconds({ underSeconds }: FloorRun): number {
  return Math.max(...Object.values(underSeconds));
}

function ratio(pairs: readonly Pair[]): Figure[] {
  if (pairs.length === 0) return [];
  const ratios = pairs.map(({ floor, none }) => floor.seconds / none.seconds);
  return [
    figureOf(`${UNKEEPABLE}: the last node, with the floor / without`, 'ratio', ratios, {
      atMost: NEVER_SLOWER,
      judgedBy: 'median',
    }),
  ];
}
