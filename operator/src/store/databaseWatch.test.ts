import { expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { DatabaseWatch } from './databaseWatch.ts';

it('a database is away until it has answered for the first time', () => {
  const watch = new DatabaseWatch({ clock: new FakeClock(), ping: () => Promise.resolve() });
  expect([watch.isAway, watch.awaySinceMs]).toEqual([true, 0]);
  watch.start();
  expect([watch.isAway, watch.awaySinceMs]).toEqual([false, undefined]);
  watch.stop();
});

it('a database is away from the first ping without an answer to the next with one', async () => {
  const clock = new FakeClock();
  let answers = true;
  const watch = new DatabaseWatch({
    clock,
    ping: () => (answers ? Promise.resolve() : Promise.reject(new Error('no'))),
  });
  watch.start();
  await clock.advance(5_000);
  expect(watch.isAway).toBe(false);
  answers = false;
  await clock.advance(5_000);
  expect(watch.isAway).toBe(true);
  await clock.advance(10_000);
  expect(watch.awaySinceMs, 'not since the last one').toBe(10_000);
  answers = true;
  await clock.advance(5_000);
  expect([watch.isAway, watch.awaySinceMs]).toEqual([false, undefined]);
  watch.stop();
});
