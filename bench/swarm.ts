/**
 * A file to many nodes over shaped links, by Sluice and by what a user would take instead: the
 * time of the last node against the fluid bound, in each set-up of lib/setups.ts. Systems take
 * turns. What was measured is recorded, a result and a picture for each set-up, when all systems
 * took part or with --record.
 *   node bench/swarm.ts [--runs 5] [--only a,b] [--systems sluice,aria2] [--rate-share 1]
 *     [--node-share 1] [--quiet] [--record]
 */
import { parseArgs } from 'node:util';
import { aria2 } from './lib/alternatives/aria2.ts';
import { cachingProxy } from './lib/alternatives/cachingProxy.ts';
import { libtorrent } from './lib/alternatives/libtorrent.ts';
import { plainHttp } from './lib/alternatives/plainHttp.ts';
import { completionPicture } from './lib/completionPicture.ts';
import { CONGESTION_CONTROL } from './lib/links.ts';
import { ownArguments, runBenchmark } from './lib/namespaces.ts';
import { record, writeResult } from './lib/record.ts';
import { boundOf, describeLinks, SETUPS, type Setup, scaled } from './lib/setups.ts';
import { sluice } from './lib/sluice.ts';
import { type RoundRun, swarmFigures } from './lib/swarmFigures.ts';
import { swarmRun } from './lib/swarmRun.ts';
import type { System } from './lib/system.ts';
import { tellRun } from './lib/tellRun.ts';

const SYSTEMS: readonly System[] = [sluice, plainHttp, cachingProxy, aria2, libtorrent];
/** Above it the processor decides and not the links: such a run says nothing about a system. */
const MAX_CPU_SHARE = 0.9;
/** A run is given up after so many times its bound. */
const TIMEOUT_BOUNDS = 30;
const MIN_TIMEOUT_SECONDS = 300;

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: SETUPS.map(({ name }) => name).join(',') },
    systems: { type: 'string', default: SYSTEMS.map(({ name }) => name).join(',') },
    'rate-share': { type: 'string', default: '1' },
    'node-share': { type: 'string', default: '1' },
    record: { type: 'boolean', default: false },
    quiet: { type: 'boolean', default: false },
  },
});

await runBenchmark(import.meta.filename, measure);

async function measure(signal: AbortSignal): Promise<boolean> {
  const scale = {
    rateShare: Number(values['rate-share']),
    nodeShare: Number(values['node-share']),
  };
  const setups = chosen('only', values.only, SETUPS).map((each) => scaled(each, scale));
  const systems = chosen('systems', values.systems, SYSTEMS);
  const runs: RoundRun[] = [];
  const holds = new Map<string, boolean>();
  for (let round = 1; round <= Number(values.runs); round += 1) {
    for (const setup of setups) {
      for (const system of systems) runs.push(await one(setup, system, round, signal));
      // After each round, so that a series that is cut short is not lost.
      if (values.record || systems.length === SYSTEMS.length) {
        holds.set(setup.name, await recorded(setup, systems, runs));
      }
    }
  }
  return ![...holds.values()].includes(false);
}

async function one(
  setup: Setup,
  system: System,
  round: number,
  signal: AbortSignal,
): Promise<RoundRun> {
  console.log(`\n(${setup.name}) ${system.name}, round ${round}: ${setup.about}`);
  const log = values.quiet ? () => {} : console.log;
  const timeoutSeconds = Math.max(MIN_TIMEOUT_SECONDS, TIMEOUT_BOUNDS * boundOf(setup).seconds);
  const measured = await swarmRun(setup, system, { signal, log, timeoutSeconds });
  const isBusy = measured.cpuBusyShare > MAX_CPU_SHARE;
  const run = { ...measured, round, ...(isBusy && { leftOut: 'the processor was the limit' }) };
  console.log(tellRun(run, setup));
  return run;
}

function recorded(
  setup: Setup,
  systems: readonly System[],
  all: readonly RoundRun[],
): Promise<boolean> {
  const runs = all.filter((run) => run.setup === setup.name);
  const picture = completionPicture({
    title: `(${setup.name}) ${setup.about}`,
    subtitle: `${setup.sizeMiB} MiB; ${describeLinks(setup)} Of each system its median run`,
    boundSeconds: boundOf(setup).seconds,
    curves: systems.map(({ name }) => ({ name, nodeSeconds: middleRun(runs, name) })),
  });
  const name = `swarm-${setup.name}`;
  const about = [
    `${setup.sizeMiB} MiB, ${setup.about}. ${describeLinks(setup)}`,
    `TCP ${CONGESTION_CONTROL}. Files in memory. All of it runs on the one machine;`,
    `runs with the processors more than ${MAX_CPU_SHARE * 100} % busy are left out.`,
    ...systems.map((system) => `${system.name}: ${system.about}.`),
  ].join(' ');
  const args = ownArguments().join(' ');
  const command = `make bench NAME=swarm${args === '' ? '' : ` ARGS='${args}'`}`;
  return writeResult(`${name}.svg`, picture).then(() =>
    record({ name, about, command, runs, figures: swarmFigures(setup, runs) }),
  );
}

/** The nodes' times of the run that is in the middle by its last node, busy ones last. */
function middleRun(runs: readonly RoundRun[], system: string): number[] {
  const own = runs.filter((run) => run.system === system);
  const counted = own.filter(({ leftOut }) => leftOut === undefined);
  const sorted = (counted.length > 0 ? counted : own).sort((a, b) => a.seconds - b.seconds);
  return Object.values(sorted[sorted.length >> 1]?.nodeSeconds ?? {});
}

function chosen<T extends { readonly name: string }>(
  option: string,
  names: string,
  all: readonly T[],
): T[] {
  return names.split(',').map((name) => {
    const found = all.find((each) => each.name === name);
    if (found !== undefined) return found;
    const known = all.map((each) => each.name).join(', ');
    throw new Error(`--${option}: '${name}' is none of ${known}`);
  });
}
