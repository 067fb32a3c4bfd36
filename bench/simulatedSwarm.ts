/**
 * The set-ups of bench/swarm.ts in the simulation, where no processor counts: what the rules of
 * who asks whom for what can reach. With --tcp links have the simulation's TCP, which is not
 * calibrated: that is to compare with bench/swarm.ts, and is not recorded.
 *   node bench/simulatedSwarm.ts [--setups abcdef] [--seeds 3] [--node-share 1] [--mib 256] [--tcp]
 */
import { parseArgs } from 'node:util';
import { failWith } from '../e2e/cluster/command.ts';
import { type Figure, figureOf, type Goal } from './lib/figures.ts';
import { record } from './lib/record.ts';
import { SETUPS, scaled } from './lib/setups.ts';
import { type SimulatedRun, simulatedRun } from './lib/simulatedRun.ts';

const TIME_GOALS: Readonly<Record<string, number>> = { a: 1.1, b: 1.1, c: 1.1 };
const ONE_COPY_GOALS: Readonly<Record<string, number>> = { a: 1.08, b: 1.08 };
const RELAY_COPIES_GOALS: Readonly<Record<string, number>> = { c: 1.05 };
const RECEIVED_GOAL = 1.02;

const { values } = parseArgs({
  options: {
    setups: { type: 'string', default: SETUPS.map(({ name }) => name).join('') },
    seeds: { type: 'string', default: '3' },
    'node-share': { type: 'string', default: '1' },
    mib: { type: 'string' },
    tcp: { type: 'boolean', default: false },
  },
});

try {
  process.exitCode = (await runAll(values.setups, Number(values.seeds))) ? 0 : 1;
} catch (error) {
  failWith('bench', error);
}

async function runAll(names: string, seeds: number): Promise<boolean> {
  const runs: SimulatedRun[] = [];
  const figures: Figure[] = [];
  const nodeShare = Number(values['node-share']);
  for (const each of SETUPS.filter(({ name }) => names.includes(name))) {
    const whole = scaled(each, { rateShare: 1, nodeShare });
    const setup = values.mib === undefined ? whole : { ...whole, sizeMiB: Number(values.mib) };
    const own: SimulatedRun[] = [];
    for (let seed = 1; seed <= seeds; seed += 1) {
      const run = await simulatedRun(setup, seed, values.tcp);
      console.log(JSON.stringify(run));
      own.push(run);
    }
    runs.push(...own);
    figures.push(...figuresOf(each.name, own));
  }
  if (values.tcp) {
    for (const { name, median, unit } of figures) console.log(`${name}: ${median} ${unit}`);
    return true;
  }
  return record({
    name: nodeShare === 1 ? 'simulatedSwarm' : `simulatedSwarm-${nodeShare}`,
    about: `The set-ups of swarm with ${nodeShare} of their nodes in the simulation, links of the same rates less headers.`,
    command: `make bench NAME=simulatedSwarm ARGS='--setups ${names} --seeds ${seeds} --node-share ${nodeShare}'`,
    runs,
    figures,
  });
}

function figuresOf(name: string, runs: readonly SimulatedRun[]): Figure[] {
  const figure = (
    what: string,
    unit: string,
    value: (run: SimulatedRun) => number | undefined,
    atMost?: number,
  ): Figure[] => {
    const goal: Goal | undefined =
      atMost === undefined ? undefined : { atMost, judgedBy: 'median' };
    const known = runs.map(value).filter((each) => each !== undefined);
    return known.length === 0 ? [] : [figureOf(`${name}: ${what}`, unit, known, goal)];
  };
  return [
    ...figure(
      'last node / fluid bound',
      'ratio',
      ({ seconds, boundSeconds }) => seconds / boundSeconds,
      TIME_GOALS[name],
    ),
    ...figure(
      'last node / T1, the bound with one copy from the origin',
      'ratio',
      ({ seconds, oneCopyBoundSeconds }) => seconds / oneCopyBoundSeconds,
      ONE_COPY_GOALS[name],
    ),
    ...figure('last fast node', 's', ({ fastSeconds }) => fastSeconds),
    ...figure('last late node, from its own start', 's', ({ lateSeconds }) => lateSeconds),
    ...figure('the origin was done', 's', ({ originSeconds }) => originSeconds),
    ...figure('copies from the origin', 'copies', ({ originCopies }) => originCopies),
    ...figure(
      'copies that relays gave',
      'copies',
      ({ relayCopies }) => relayCopies,
      RELAY_COPIES_GOALS[name],
    ),
    ...figure(
      'copies that a node received',
      'copies',
      ({ duplicateCopies }) => 1 + duplicateCopies,
      RECEIVED_GOAL,
    ),
    ...figure(
      'rate 2 s to 6 s after the kill / what the survivors allow',
      'ratio',
      ({ rateAfterKill }) => rateAfterKill,
    ),
  ];
}
