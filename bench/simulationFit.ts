/**
 * The simulation held against shaped links: every set-up of bench/swarm.ts of which Sluice's runs
 * are recorded, simulated, and by how much its time and what it takes from the origin differ.
 *   node bench/simulationFit.ts [--seeds 3] [--only a-8nodes,b]
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { failWith } from '../e2e/cluster/command.ts';
import { type Figure, figureOf, median } from './lib/figures.ts';
import { record } from './lib/record.ts';
import { SETUPS, type Setup, scaled } from './lib/setups.ts';
import { type SimulatedRun, simulatedRun } from './lib/simulatedRun.ts';
import type { RoundRun } from './lib/swarmFigures.ts';

const MOST_TIME_PERCENT = 5;
const MOST_ORIGIN_PERCENT = 1;
/** Of the set-ups' nodes, as they were measured. */
const NODE_SHARES = [1, 0.5];

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '3' }, only: { type: 'string' } },
});

try {
  process.exitCode = (await runAll(Number(values.seeds), values.only?.split(','))) ? 0 : 1;
} catch (error) {
  failWith('bench', error);
}

async function runAll(seeds: number, only: readonly string[] | undefined): Promise<boolean> {
  const runs: (SimulatedRun & { readonly shaped: Shaped })[] = [];
  const figures: Figure[] = [];
  for (const setup of NODE_SHARES.flatMap(setupsOf)) {
    const shaped = await shapedOf(setup);
    if (shaped === undefined || only?.includes(setup.name) === false) continue;
    const own: SimulatedRun[] = [];
    for (let seed = 1; seed <= seeds; seed += 1) {
      const run = await simulatedRun(setup, seed);
      console.log(
        `(${setup.name}) seed ${seed}: ${run.seconds.toFixed(2)} s, shaped ${shaped.seconds.toFixed(2)} s; ` +
          `${run.originCopies.toFixed(3)} copies from the origin, shaped ${shaped.originCopies.toFixed(3)}`,
      );
      own.push(run);
    }
    runs.push(...own.map((run) => ({ ...run, shaped })));
    figures.push(...figuresOf(setup.name, own, shaped));
  }
  if (runs.length === 0) throw new Error('no set-up that was asked for is recorded in results/');
  if (only !== undefined) return figures.every(({ holds }) => holds !== false);
  return record({
    name: 'simulationFit',
    about: 'The simulation of set-ups of swarm, against the medians of what is recorded of them.',
    command: `make bench NAME=simulationFit ARGS='--seeds ${seeds}'`,
    runs,
    figures,
  });
}

function setupsOf(nodeShare: number): Setup[] {
  return SETUPS.map((setup) => scaled(setup, { rateShare: 1, nodeShare }));
}

/** Medians of Sluice's runs that count. */
interface Shaped {
  readonly seconds: number;
  readonly originCopies: number;
}

/** Undefined: nothing is recorded of it. */
async function shapedOf({ name }: Setup): Promise<Shaped | undefined> {
  const file = path.join(import.meta.dirname, `results/swarm-${name}.json`);
  const text = await readFile(file, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const { runs } = JSON.parse(text) as { runs: readonly RoundRun[] };
  const counted = runs.filter(
    ({ system, leftOut }) => system === 'sluice' && leftOut === undefined,
  );
  if (counted.length === 0) return undefined;
  return {
    seconds: median(counted.map(({ seconds }) => seconds)),
    originCopies: median(counted.map(({ originCopies }) => originCopies)),
  };
}

function figuresOf(name: string, runs: readonly SimulatedRun[], shaped: Shaped): Figure[] {
  const compared = (what: string, percents: readonly number[], atMost: number): Figure[] => [
    figureOf(`${name}: ${what}, simulated over shaped`, '%', percents),
    figureOf(`${name}: ${what}, off by`, '%', [Math.abs(median(percents))], {
      atMost,
      judgedBy: 'median',
    }),
  ];
  return [
    ...compared(
      'time of the last node',
      runs.map(({ seconds }) => percentOver(seconds, shaped.seconds)),
      MOST_TIME_PERCENT,
    ),
    ...compared(
      'bytes from the origin',
      runs.map(({ originCopies }) => percentOver(originCopies, shaped.originCopies)),
      MOST_ORIGIN_PERCENT,
    ),
  ];
}

function percentOver(one: number, other: number): number {
  return (one / other - 1) * 100;
}
