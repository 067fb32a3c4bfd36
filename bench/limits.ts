/**
 * Limits at an origin: holders pull under leases as fast as they may, from nginx behind a meter that
 * shares no code with them. The worst second of each run against the limit, and how much of the
 * limit is used.
 *   node bench/limits.ts [--runs 5] [--only slow-0,50-20,200-64-100,stalls]
 */
import { parseArgs } from 'node:util';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { startLoopbackOrigin } from '../e2e/origin/loopback.ts';
import type { OriginHost } from '../e2e/origin/origin.ts';
import { type Figure, figureOf } from './lib/figures.ts';
import { type Cell, GROUPS, type Group, goalOf } from './lib/limitCells.ts';
import { type LimitRun, limitRun } from './lib/limitRun.ts';
import { record } from './lib/record.ts';

const MAX_CPU_SHARE = 0.8;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: GROUPS.map(({ name }) => name).join(',') },
  },
});

const signal = abortOnSignal();
try {
  if (!(await measure())) process.exitCode = 1;
} catch (error) {
  failWith('bench', signal.aborted ? signal.reason : error);
}

async function measure(): Promise<boolean> {
  const names = values.only.split(',');
  const unknown = names.find((name) => !GROUPS.some((group) => group.name === name));
  if (unknown !== undefined) throw new Error(`--only: there is no group '${unknown}'`);
  const groups = GROUPS.filter(({ name }) => names.includes(name));
  const runs: LimitRun[] = [];
  // Each its own, so that nothing of one run is on the way in the next.
  const count = Math.max(...groups.map(({ cells }) => cells.length));
  const origins: OriginHost[] = [];
  try {
    // One after the other: the first one builds the meter.
    while (origins.length < count) origins.push(await startLoopbackOrigin());
    for (let round = 1; round <= Number(values.runs); round += 1) {
      for (const group of groups) {
        const measured = await limitRun(group, origins, signal);
        runs.push(...measured.map(counted));
        tell(group, round, measured);
      }
    }
  } finally {
    await Promise.all(origins.map((origin) => origin.stop()));
  }
  const about = [
    "Lease loops and pullers as in a relay, under leases of the operator's lease service, 10 ms away;",
    'nginx behind the meter of e2e/, over loopback. What is pulled is counted and dropped.',
    "Worst second: by the meter's milliseconds, heads of answers included, 1,001 of them.",
    'Used: from two seconds after the first byte on, for 4.5 s.',
    `Runs with the processors more than ${MAX_CPU_SHARE * 100} % busy count for what must never happen, and not for speed.`,
  ].join(' ');
  const cells = groups.flatMap((group) => group.cells);
  return record({
    name: 'limits',
    about,
    runs,
    figures: [...safetyOf(cells, runs), ...cells.flatMap((cell) => speedOf(cell, runs))],
  });
}

function counted(run: LimitRun): LimitRun {
  const isBusy = run.cpuBusyShare > MAX_CPU_SHARE;
  return isBusy ? { ...run, leftOut: 'the processor was the limit' } : run;
}

function tell({ name }: Group, round: number, runs: readonly LimitRun[]): void {
  const [{ cpuBusyShare } = { cpuBusyShare: 0 }] = runs;
  console.log(`\n${name}, round ${round}: processor ${(cpuBusyShare * 100).toFixed(0)} %`);
  for (const { cell, worstSecondShare, usedShare, wholeShare, peakConnections, requests } of runs) {
    console.log(
      `  ${cell.padEnd(62)} worst ${worstSecondShare.toFixed(4)}  used ${usedShare.toFixed(4)}  whole ${wholeShare.toFixed(3)}  ${peakConnections} open, ${requests} requests`,
    );
  }
}

/** Also of busy runs: a limit holds on a slow machine too. */
function safetyOf(cells: readonly Cell[], runs: readonly LimitRun[]): Figure[] {
  const over = runs.map(({ cell, peakConnections }) => {
    const allowed = cells.find(({ name }) => name === cell)?.connections ?? 0;
    return Math.max(0, peakConnections - allowed);
  });
  const goal = { judgedBy: 'everyRun' } as const;
  return [
    figureOf(
      'worst second / limit, all runs',
      'ratio',
      runs.map(({ worstSecondShare }) => worstSecondShare),
      { ...goal, atMost: 1 },
    ),
    figureOf('connections over the limit, all runs', 'connections', over, { ...goal, atMost: 0 }),
  ];
}

function speedOf(cell: Cell, runs: readonly LimitRun[]): Figure[] {
  const own = runs.filter((run) => run.cell === cell.name && run.leftOut === undefined);
  if (own.length === 0) return [];
  const goal = goalOf(cell);
  return [
    figureOf(
      `${cell.name}: worst second / limit`,
      'ratio',
      own.map(({ worstSecondShare }) => worstSecondShare),
    ),
    figureOf(
      `${cell.name}: used / limit`,
      'ratio',
      own.map(({ usedShare }) => usedShare),
      goal === undefined ? undefined : { atLeast: goal, judgedBy: 'median' },
    ),
  ];
}
