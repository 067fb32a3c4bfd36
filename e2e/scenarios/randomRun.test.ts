import { describe, expect } from 'vitest';
import { RandomRun } from '../randomRun/randomRun.ts';
import { scenario } from './scenario.ts';

/** A longer one, with a seed of one's own: `make bench NAME=randomRun`. */
const SEED = 12;
const STEPS = 12;
const TIMEOUT_MS = 900_000;

describe('whatever happens, in whatever order', () => {
  scenario(
    'cluster, database and disks say the same when it is over',
    async ({ sluice, signal, undo }) => {
      const steps: string[] = [];
      const log = (line: string) => void steps.push(line);
      const run = new RandomRun(sluice, {
        seed: SEED,
        steps: STEPS,
        stepsBetweenRests: STEPS,
        log,
        signal,
      });
      // What was found is written down before.
      undo(() => run.cleanUp());
      const rests = await run.play();
      expect(rests.at(-1)?.differences, steps.join('\n')).toEqual([]);
      expect(rests).toHaveLength(2);
    },
    { timeoutMs: TIMEOUT_MS },
  );
});
