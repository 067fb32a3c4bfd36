/** What the runs of one set-up of bench/swarm.ts come to. PURE. */
import { type Figure, figureOf, type Goal } from './figures.ts';
import { type Setup, sizeBytesOf } from './setups.ts';
import type { SwarmRun } from './swarmRun.ts';

/** A run, and in which round of all systems it was: ratios are of one round. */
export type RoundRun = SwarmRun & { readonly round: number };

const OWN = 'sluice';
const median = (atMost: number): Goal => ({ atMost, judgedBy: 'median' });
const never = (atMost: number): Goal => ({ atMost, judgedBy: 'everyRun' });

/** Goals of single set-ups, however many of their nodes take part. */
const TIME_GOALS: Readonly<Record<string, number>> = { a: 1.1, b: 1.1, c: 1.1 };
const ONE_COPY_GOALS: Readonly<Record<string, number>> = { a: 1.08, b: 1.08 };
const RELAY_COPIES_GOALS: Readonly<Record<string, number>> = { c: 1.05 };
const ORIGIN_COPIES_GOAL = 1.02;
const RATE_AFTER_KILL_GOAL = 0.9;
/** Of each connection to the origin the piece that had not come whole. */
const MAX_UNFINISHED_PIECES = 8;
/** A median of fewer says nothing. */
const MIN_RUNS = 5;

export function swarmFigures(setup: Setup, runs: readonly RoundRun[]): Figure[] {
  const counted = runs.filter(({ leftOut }) => leftOut === undefined);
  const systems = [...new Set(runs.map(({ system }) => system))];
  const figures = systems.flatMap((system) => {
    const timed = counted.filter((run) => run.system === system);
    const all = runs.filter((run) => run.system === system);
    return systemFigures(setup, system, timed, all);
  });
  return [
    ...figures,
    ...aheadOf('the last node', counted, ({ seconds }) => seconds),
    ...(hasSlowNodes(setup)
      ? aheadOf('the last fast node', counted, (run) => fastSeconds(setup, run))
      : []),
    figureOf('runs left out, the processor was the limit', 'runs', [runs.length - counted.length]),
    figureOf(
      `${OWN}: runs that count`,
      'runs',
      [counted.filter(({ system }) => system === OWN).length],
      { atLeast: MIN_RUNS, judgedBy: 'everyRun' },
    ),
  ];
}

/** Of several values none, when no run counts. */
function systemFigures(
  setup: Setup,
  system: string,
  timed: readonly RoundRun[],
  all: readonly RoundRun[],
): Figure[] {
  const isOwn = system === OWN;
  const figures: Figure[] = [];
  const add = (name: string, unit: string, values: readonly number[], goal?: Goal) => {
    if (values.length > 0) figures.push(figureOf(`${system}: ${name}`, unit, values, goal));
  };
  const goalOf = (goals: Readonly<Record<string, number>>) => {
    const goal = goals[setup.name.split('-')[0] as string];
    return isOwn && goal !== undefined ? median(goal) : undefined;
  };
  add(
    'last node',
    's',
    timed.map(({ seconds }) => seconds),
  );
  add(
    'last node / fluid bound',
    'ratio',
    timed.map(({ seconds, boundSeconds }) => seconds / boundSeconds),
    goalOf(TIME_GOALS),
  );
  add(
    'last node / T1, the bound with one copy from the origin',
    'ratio',
    timed.map(({ seconds, oneCopyBoundSeconds }) => seconds / oneCopyBoundSeconds),
    goalOf(ONE_COPY_GOALS),
  );
  if (hasSlowNodes(setup)) {
    add(
      'last fast node',
      's',
      timed.map((run) => fastSeconds(setup, run)),
    );
  }
  if (setup.lateNodes !== undefined) {
    add(
      'last late node, from its own start',
      's',
      timed.map((run) => lateSeconds(setup, run)),
    );
  }
  add(
    'copies from the origin',
    'copies',
    all.map(({ originCopies }) => originCopies),
    isOwn && !setup.killsRelay ? never(ORIGIN_COPIES_GOAL) : undefined,
  );
  add(
    'copies that relays gave',
    'copies',
    all.map((run) => relayCopies(setup, run)),
    goalOf(RELAY_COPIES_GOALS),
  );
  add(
    'rate 2 s to 6 s after the kill / what the survivors allow',
    'ratio',
    // A run that was over too soon to say does not pass.
    setup.killsRelay ? timed.map(({ rateAfterKill }) => rateAfterKill ?? 0) : [],
    isOwn ? { atLeast: RATE_AFTER_KILL_GOAL, judgedBy: 'median' } : undefined,
  );
  add(
    'pieces fetched again beyond those that the killed relay alone held',
    'pieces',
    all.flatMap((run) => fetchedAgain(setup, run)),
    isOwn ? never(MAX_UNFINISHED_PIECES) : undefined,
  );
  add(
    'processor in use',
    '%',
    all.map(({ cpuBusyShare }) => cpuBusyShare * 100),
  );
  add(
    'nodes with another SHA-256',
    'nodes',
    all.map(({ wrongNodes }) => wrongNodes.length),
    never(0),
  );
  return figures;
}

/** Sluice's time over that of the fastest alternative of the same round. */
function aheadOf(
  what: string,
  runs: readonly RoundRun[],
  value: (run: RoundRun) => number,
): Figure[] {
  const ratios = runs.flatMap((own) => {
    const others = runs.filter(({ system, round }) => system !== OWN && round === own.round);
    if (own.system !== OWN || others.length === 0) return [];
    return value(own) / Math.min(...others.map(value));
  });
  if (ratios.length === 0) return [];
  return [figureOf(`sluice / the fastest alternative: ${what}`, 'ratio', ratios, median(1))];
}

/** By the relays' own count of the file's bytes where there is one, else by their links. */
function relayCopies(setup: Setup, { facts, relayCopies: byLinks }: RoundRun): number {
  if (facts.relayUploadedBytes === undefined) return byLinks;
  const given = Object.values(facts.relayUploadedBytes).reduce((sum, bytes) => sum + bytes, 0);
  return given / sizeBytesOf(setup);
}

/** By the origin's count: headers are in it, for whom one copy is a little more than one. */
function fetchedAgain(setup: Setup, { facts: { lost }, originCopies }: RoundRun): number[] {
  if (lost === undefined) return [];
  return [((originCopies - 1) * sizeBytesOf(setup)) / lost.pieceLengthBytes - lost.pieces];
}

function hasSlowNodes({ nodes }: Setup): boolean {
  return new Set(nodes.map(({ down }) => down)).size > 1;
}

function fastSeconds({ nodes }: Setup, { nodeSeconds }: RoundRun): number {
  const fastest = Math.max(...nodes.map(({ down }) => down));
  const seconds = nodes.map(({ down }, at) =>
    down === fastest ? (nodeSeconds[`node${at + 1}`] ?? 0) : 0,
  );
  return Math.max(...seconds);
}

function lateSeconds({ nodes, lateNodes = 0 }: Setup, run: RoundRun): number {
  const late = nodes.map((_, at) => `node${at + 1}`).slice(nodes.length - lateNodes);
  const last = Math.max(...late.map((name) => run.nodeSeconds[name] ?? 0));
  return last - (run.halfwaySeconds ?? 0);
}
