import { expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { Admission } from './admission.ts';

function running() {
  const clock = new FakeClock();
  const admission = new Admission(clock);
  const ends: (() => void)[] = [];
  const run = () =>
    admission
      .run(() => new Promise<void>((resolve) => void ends.push(resolve)))
      .then(
        () => undefined,
        (error) => error,
      );
  return { clock, ends, run };
}

it('64 are asked about at a time, and the next one when one of them is over', async () => {
  const { ends, run } = running();
  const all = Array.from({ length: 64 }, run);
  expect(await run()).toMatchObject({ status: 503, code: 'Busy', retryAfterSeconds: 1 });
  expect(ends).toHaveLength(64);
  ends[0]?.();
  await all[0];
  void run();
  expect(ends).toHaveLength(65);
});

it('the others come again one after the other, 500 a second, and after 30 seconds at the latest', async () => {
  const { clock, run } = running();
  for (let each = 0; each < 64; each += 1) void run();
  const waits: number[] = [];
  for (let each = 0; each < 20_000; each += 1) {
    waits.push((await run())?.retryAfterSeconds);
  }
  const inSecond = (second: number) => waits.filter((wait) => wait === second).length;
  expect([1, 2, 15, 29].map(inSecond)).toEqual([501, 500, 500, 500]);
  expect(Math.max(...waits)).toBe(30);
  await clock.advance(60_000);
  expect(await run()).toMatchObject({ retryAfterSeconds: 1 });
});
