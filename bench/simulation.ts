/**
 * Random worlds, one a seed: real transfers on a virtual clock, with links, disks and faults that
 * the seed decides. A world that comes to a bad end is named by its seed, which repeats it.
 *   node bench/simulation.ts [--worlds 1000] [--seed 1] [--plain]
 */
import { parseArgs } from 'node:util';
import { tryRandomWorld } from '@sluice/engine/sim/randomWorld.ts';
import { failWith } from '../e2e/cluster/command.ts';
import { figureOf } from './lib/figures.ts';
import { record } from './lib/record.ts';

const TELL_EVERY = 100;

const { values } = parseArgs({
  options: {
    worlds: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    plain: { type: 'boolean', default: false },
  },
});

try {
  process.exitCode = (await tryAll(Number(values.seed), Number(values.worlds))) ? 0 : 1;
} catch (error) {
  failWith('bench', error);
}

async function tryAll(first: number, count: number): Promise<boolean> {
  const bad: { seed: number; problems: readonly string[]; faults: readonly string[] }[] = [];
  let faultCount = 0;
  let virtualSeconds = 0;
  const duplicateShares: number[] = [];
  const plainly = values.plain ? ' --plain' : '';
  const beganAtMs = performance.now();
  for (let seed = first; seed < first + count; seed += 1) {
    const verdict = await tryRandomWorld(seed, { isPlain: values.plain });
    virtualSeconds += verdict.virtualSeconds;
    duplicateShares.push(verdict.duplicateShare);
    faultCount += verdict.faults.length;
    const done = seed - first + 1;
    if (verdict.problems.length > 0) {
      bad.push({ seed, ...verdict });
      console.log(`seed ${seed}: ${verdict.problems.join('; ')} (${verdict.faults.join(', ')})`);
      console.log(
        `  repeat it: make bench NAME=simulation ARGS='--seed ${seed} --worlds 1${plainly}'`,
      );
    }
    if (done % TELL_EVERY === 0) console.log(`${done} of ${count} worlds, ${bad.length} bad`);
  }
  if (count === 1) return bad.length === 0;
  const seconds = (performance.now() - beganAtMs) / 1000;
  return record({
    name: values.plain ? 'simulation-plain' : 'simulation',
    about: `Worlds of seeds ${first} to ${first + count - 1}: up to 3 relays and 10 nodes, random files, rates, delays, disks, origins and faults.`,
    command: `make bench NAME=simulation ARGS='--seed ${first} --worlds ${count}${plainly}'`,
    runs: bad,
    figures: [
      figureOf('worlds', 'worlds', [count]),
      figureOf('worlds with a bad end', 'worlds', [bad.length], {
        atMost: 0,
        judgedBy: 'everyRun',
      }),
      figureOf('faults', 'faults', [faultCount]),
      figureOf('bytes received twice, of a world', 'copies', duplicateShares),
      figureOf('time in the worlds', 's', [virtualSeconds]),
      figureOf('time that it took', 's', [seconds]),
    ],
  });
}
