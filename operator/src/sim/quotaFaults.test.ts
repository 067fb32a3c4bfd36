import { describe, expect, it } from 'vitest';
import { tryQuotaWorld } from './randomQuotaWorld.ts';

/** Of clocks that are much worse than the design allows for, where that is told. */
const BAD_CLOCKS = 0.05;

describe('the limits of an origin, by its own sockets', () => {
  const all = { snapshots: 0, snapshotsRead: 0, prunedDocuments: 0, restarts: 0 };

  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])('hold in the world of seed %i', async (seed) => {
    const { problems, journals } = await tryQuotaWorld({ seed });
    for (const fact of Object.keys(all) as (keyof typeof all)[]) all[fact] += journals[fact];
    expect(problems, `make bench NAME=quotaFaults ARGS='--seed ${seed} --worlds 1'`).toEqual([]);
  });

  it.each([1, 2])('hold among clocks that are far off, in the world of seed %i', async (seed) => {
    const { problems } = await tryQuotaWorld({ seed, drift: BAD_CLOCKS });
    const repeat = `make bench NAME=quotaFaults ARGS='--seed ${seed} --worlds 1 --drift ${BAD_CLOCKS}'`;
    expect(problems, repeat).toEqual([]);
  });

  it('were tried with journals that are kept short, and some that were restored', () => {
    for (const count of Object.values(all)) expect(count).toBeGreaterThan(0);
  });
});
