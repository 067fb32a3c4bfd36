/** How long `make verify` takes: five runs, one after the other. */
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { runCommand } from '../scripts/command.ts';
import { figureOf } from './lib/figures.ts';
import { record } from './lib/record.ts';

const RUNS = 5;
const GOAL_SECONDS = 60;
const TIMEOUT_MS = 300_000;

const signal = abortOnSignal();
try {
  const runs: { seconds: number }[] = [];
  for (let at = 1; at <= RUNS; at += 1) {
    signal.throwIfAborted();
    const startedAt = performance.now();
    const { exitCode } = await runCommand(['make', 'verify'], {
      timeoutMs: TIMEOUT_MS,
      output: 'collect',
    });
    if (exitCode !== 0) throw new Error(`make verify ended with ${exitCode}; run it to see why`);
    const seconds = (performance.now() - startedAt) / 1000;
    runs.push({ seconds });
    console.log(`run ${at}: ${seconds.toFixed(1)} s`);
  }
  const seconds = runs.map((run) => run.seconds);
  const holds = await record({
    name: 'verifyTime',
    about: 'make verify from beginning to end; what it needs is installed.',
    runs,
    figures: [figureOf('make verify', 's', seconds, { atMost: GOAL_SECONDS, judgedBy: 'median' })],
  });
  if (!holds) process.exitCode = 1;
} catch (error) {
  failWith('bench', error);
}
