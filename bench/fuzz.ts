/**
 * What strangers send: mutated inputs to every decoder of the engine, to relays, and to those who ask
 * them; what a broken disk gives back; and sessions in which members, or strangers who call, spoil what
 * they say. Whatever goes wrong is named by its seed, which repeats it.
 *   node bench/fuzz.ts [--inputs 1000000] [--worlds 1000] [--strangers 100] [--seed 1]
 */
import { parseArgs } from 'node:util';
import { fuzzStoredFiles } from '@sluice/engine/adapters/file/testing/storedFilesFuzz.ts';
import { fuzzRelayRequests } from '@sluice/engine/adapters/http/testing/relayRequestFuzz.ts';
import { fuzzDecoders } from '@sluice/engine/sim/decoderFuzz.ts';
import { type HostileVerdict, tryHostileWorld } from '@sluice/engine/sim/hostileWorld.ts';
import { fuzzRelayAnswers } from '@sluice/engine/sim/relayAnswerFuzz.ts';
import { trySpoiledSessions, trySpoiledStockSessions } from '@sluice/engine/sim/strangersWorld.ts';
import { failWith } from '../e2e/cluster/command.ts';
import { figureOf } from './lib/figures.ts';
import { record } from './lib/record.ts';

const INPUTS_AT_ONCE = 100_000;
const TELL_EVERY = 100;

/** Each takes its share of the inputs: what takes longer, a smaller one. */
const KINDS = [
  {
    name: 'inputs to decoders',
    fuzz: async (seed: number, count: number) => fuzzDecoders(seed, count),
    share: 1,
  },
  { name: 'answers of relays', fuzz: fuzzRelayAnswers, share: 0.1 },
  { name: 'requests to relays', fuzz: fuzzRelayRequests, share: 0.1 },
  { name: 'stored files', fuzz: fuzzStoredFiles, share: 0.02 },
];

/** Swarms by who spoils what in them, and the option that says how many there are. */
const WORLDS = [
  {
    name: 'swarms with hostile members',
    option: 'worlds',
    attempt: (seed: number) => tryHostileWorld(seed),
  },
  { name: 'swarms called by strangers', option: 'strangers', attempt: trySpoiledSessions },
  {
    name: 'ordinary clients called by strangers',
    option: 'strangers',
    attempt: trySpoiledStockSessions,
  },
] as const;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    worlds: { type: 'string', default: '1000' },
    strangers: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
  },
});

try {
  process.exitCode = (await fuzz()) ? 0 : 1;
} catch (error) {
  failWith('bench', error);
}

async function fuzz(): Promise<boolean> {
  const { seed, inputs, worlds, strangers } = values;
  const beganAtMs = performance.now();
  const problems: string[] = [];
  const figures: ReturnType<typeof figureOf>[] = [];
  let total = 0;
  for (const { name, fuzz, share } of KINDS) {
    const count = Math.round(Number(inputs) * share);
    problems.push(...(await inputsOf(name, fuzz, count)));
    figures.push(figureOf(name, 'inputs', [count]));
    total += count;
  }
  const closed = new Map<string, number>();
  let spoiled = 0;
  for (const { name, option, attempt } of WORLDS) {
    const found = await worldsOf(name, option, attempt, closed);
    problems.push(...found.problems);
    figures.push(
      figureOf(name, 'worlds', [Number(values[option])]),
      figureOf(`spoiled messages to ${name}`, 'messages', [found.spoiled]),
    );
    spoiled += found.spoiled;
  }
  // One seed is being repeated.
  if (total === 0) return problems.length === 0;
  const seconds = (performance.now() - beganAtMs) / 1000;
  const closings = [...closed].sort().map(([reason, count]) => ({ reason, count }));
  return record({
    name: 'fuzz',
    about: `Mutated inputs of seeds ${seed} on to decoders, relays and their clients, and files of stores; ${worlds} swarms of which one or two members spoil what they say; ${strangers} swarms and ${strangers} ordinary clients that strangers call, who say right and spoiled messages in any order. The runs are why honest peers ended connections in those worlds, and what went wrong.`,
    command: `make bench NAME=fuzz ARGS='--seed ${seed} --inputs ${inputs} --worlds ${worlds} --strangers ${strangers}'`,
    runs: [...closings, ...problems.map((problem) => ({ problem }))],
    figures: [
      ...figures,
      figureOf('all inputs', 'inputs', [total]),
      figureOf('all spoiled messages in sessions', 'messages', [spoiled]),
      figureOf('inputs and worlds with a bad end', '', [problems.length], {
        atMost: 0,
        judgedBy: 'everyRun',
      }),
      figureOf('time that it took', 's', [seconds]),
    ],
  });
}

async function inputsOf(
  name: string,
  fuzz: (firstSeed: number, count: number) => Promise<string[]>,
  inputs: number,
): Promise<string[]> {
  const first = Number(values.seed);
  const problems: string[] = [];
  for (let done = 0; done < inputs; done += INPUTS_AT_ONCE) {
    const count = Math.min(INPUTS_AT_ONCE, inputs - done);
    const found = await fuzz(first + done, count);
    for (const problem of found) console.log(problem);
    problems.push(...found);
    console.log(`${done + count} of ${inputs} ${name}, ${problems.length} bad`);
  }
  return problems;
}

async function worldsOf(
  name: string,
  option: 'worlds' | 'strangers',
  attempt: (seed: number) => Promise<HostileVerdict>,
  closed: Map<string, number>,
) {
  const first = Number(values.seed);
  const worlds = Number(values[option]);
  const problems: string[] = [];
  let spoiled = 0;
  for (let seed = first; seed < first + worlds; seed += 1) {
    const verdict = await attempt(seed);
    spoiled += verdict.spoiled;
    for (const [reason, count] of verdict.closed) {
      closed.set(reason, (closed.get(reason) ?? 0) + count);
    }
    if (verdict.problems.length > 0) {
      const problem = `${name}, seed ${seed}: ${verdict.problems.join('; ')}`;
      const only = `--inputs 0 --worlds 0 --strangers 0 --${option} 1 --seed ${seed}`;
      console.log(`${problem}\n  repeat it: make bench NAME=fuzz ARGS='${only}'`);
      problems.push(problem);
    }
    const done = seed - first + 1;
    if (done % TELL_EVERY === 0 || done === worlds) {
      console.log(`${done} of ${worlds} ${name}, ${problems.length} bad`);
    }
  }
  return { problems, spoiled };
}
