/**
 * What strangers send: mutated inputs to every decoder of the engine, and swarms in which some
 * members spoil what they say. Whatever goes wrong is named by its seed, which repeats it.
 *   node bench/fuzz.ts [--inputs 1000000] [--worlds 1000] [--seed 1]
 */
import { parseArgs } from 'node:util';
import { fuzzDecoders } from '@sluice/engine/sim/decoderFuzz.ts';
import { tryHostileWorld } from '@sluice/engine/sim/hostileWorld.ts';
import { failWith } from '../e2e/cluster/command.ts';
import { figureOf } from './lib/figures.ts';
import { record } from './lib/record.ts';

const INPUTS_AT_ONCE = 100_000;
const TELL_EVERY = 100;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    worlds: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
  },
});

try {
  process.exitCode = (await fuzz()) ? 0 : 1;
} catch (error) {
  failWith('bench', error);
}

async function fuzz(): Promise<boolean> {
  const [seed, inputs, worlds] = [values.seed, values.inputs, values.worlds].map(Number) as [
    number,
    number,
    number,
  ];
  const beganAtMs = performance.now();
  const badInputs = decoders(seed, inputs);
  const hostile = await hostileWorlds(seed, worlds);
  const seconds = (performance.now() - beganAtMs) / 1000;
  const none = { atMost: 0, judgedBy: 'everyRun' } as const;
  const closings = [...hostile.closed].sort().map(([reason, count]) => ({ reason, count }));
  return record({
    name: 'fuzz',
    about: `Mutated inputs of seeds ${seed} to ${seed + inputs - 1} to the decoders; ${worlds} swarms of which one or two members spoil what they say. The runs are why honest peers ended connections in those swarms, and what went wrong.`,
    command: `make bench NAME=fuzz ARGS='--seed ${seed} --inputs ${inputs} --worlds ${worlds}'`,
    runs: [...closings, ...[...badInputs, ...hostile.problems].map((problem) => ({ problem }))],
    figures: [
      figureOf('inputs to decoders', 'inputs', [inputs]),
      figureOf('inputs with a bad end', 'inputs', [badInputs.length], none),
      figureOf('swarms with hostile members', 'worlds', [worlds]),
      figureOf('spoiled messages in them', 'messages', [hostile.spoiled]),
      figureOf('swarms with a bad end', 'worlds', [hostile.problems.length], none),
      figureOf('time that it took', 's', [seconds]),
    ],
  });
}

function decoders(first: number, inputs: number): string[] {
  const problems: string[] = [];
  for (let done = 0; done < inputs; done += INPUTS_AT_ONCE) {
    const count = Math.min(INPUTS_AT_ONCE, inputs - done);
    const found = fuzzDecoders(first + done, count);
    for (const problem of found) console.log(problem);
    problems.push(...found);
    console.log(`${done + count} of ${inputs} inputs, ${problems.length} bad`);
  }
  return problems;
}

async function hostileWorlds(first: number, worlds: number) {
  const problems: string[] = [];
  const closed = new Map<string, number>();
  let spoiled = 0;
  for (let seed = first; seed < first + worlds; seed += 1) {
    const verdict = await tryHostileWorld(seed);
    spoiled += verdict.spoiled;
    for (const [reason, count] of verdict.closed) {
      closed.set(reason, (closed.get(reason) ?? 0) + count);
    }
    if (verdict.problems.length > 0) {
      const problem = `swarm of seed ${seed}: ${verdict.problems.join('; ')}`;
      console.log(
        `${problem}\n  repeat it: make bench NAME=fuzz ARGS='--inputs 0 --worlds 1 --seed ${seed}'`,
      );
      problems.push(problem);
    }
    const done = seed - first + 1;
    if (done % TELL_EVERY === 0) console.log(`${done} of ${worlds} swarms, ${problems.length} bad`);
  }
  return { problems, closed, spoiled };
}
