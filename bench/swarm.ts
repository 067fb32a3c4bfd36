/**
 * A file to many nodes over shaped links, by Sluice and by what a user would take instead: the
 * time of the last node against the fluid bound, in each set-up of lib/setups.ts.
 *   node bench/swarm.ts [--runs 5] [--only a,b] [--systems sluice,curl] [--rate-share 1] [--no-record]
 */
import { parseArgs } from 'node:util';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { aria2 } from './lib/alternatives/aria2.ts';
import { cachingProxy } from './lib/alternatives/cachingProxy.ts';
import { libtorrent } from './lib/alternatives/libtorrent.ts';
import { plainHttp } from './lib/alternatives/plainHttp.ts';
import { isInside, ownArguments, prepareNamespaces, runInside } from './lib/namespaces.ts';
import { installBenchPackages } from './lib/packages.ts';
import { SETUPS, type Setup, scaled } from './lib/setups.ts';
import { sluice } from './lib/sluice.ts';
import { type SwarmRun, swarmRun } from './lib/swarmRun.ts';
import type { System } from './lib/system.ts';
import { tellRun } from './lib/tellRun.ts';

const SYSTEMS: readonly System[] = [sluice, plainHttp, cachingProxy, aria2, libtorrent];
/** Above it the processor decides and not the links: such a run says nothing about a system. */
const MAX_CPU_SHARE = 0.9;

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: SETUPS.map(({ name }) => name).join(',') },
    systems: { type: 'string', default: SYSTEMS.map(({ name }) => name).join(',') },
    'rate-share': { type: 'string', default: '1' },
    quiet: { type: 'boolean', default: false },
  },
});

if (isInside()) await inside();
else await outside();

async function outside(): Promise<void> {
  try {
    await installBenchPackages(new AbortController().signal);
    process.exitCode = await runInside(import.meta.filename);
  } catch (error) {
    failWith('bench', error);
  }
}

async function inside(): Promise<void> {
  const signal = abortOnSignal();
  try {
    const setups = chosen('only', values.only, SETUPS);
    const systems = chosen('systems', values.systems, SYSTEMS);
    await prepareNamespaces();
    const runs: SwarmRun[] = [];
    for (let at = 1; at <= Number(values.runs); at += 1) {
      for (const setup of setups) {
        for (const system of systems) runs.push(await one(setup, system, at, signal));
      }
    }
  } catch (error) {
    failWith('bench', signal.aborted ? signal.reason : error);
  }
  // Sockets of systems that were killed must not keep us.
  process.exit();
}

async function one(
  unscaled: Setup,
  system: System,
  at: number,
  signal: AbortSignal,
): Promise<SwarmRun> {
  const setup = scaled(unscaled, Number(values['rate-share']));
  console.log(`\n(${setup.name}) ${system.name}, run ${at}: ${setup.about}`);
  const log = values.quiet ? () => {} : console.log;
  const measured = await swarmRun(setup, system, { signal, log, timeoutSeconds: 600 });
  const isBusy = measured.cpuBusyShare > MAX_CPU_SHARE;
  const run = { ...measured, ...(isBusy && { leftOut: 'the processor was the limit' }) };
  console.log(tellRun(run, setup));
  return run;
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
