import { expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { Telling, type TellingDependencies } from './telling.ts';

/** Nobody is there; each look at nobody takes so long. */
function toldBy(clock: FakeClock, looksTakeMs: number) {
  const looksAtMs: number[] = [];
  const fleet = {
    connected: () => {
      looksAtMs.push(clock.now());
      return [];
    },
    agents: () => new Map(),
  };
  const dependencies = {
    clock: {
      now: () => clock.now() + looksAtMs.length * looksTakeMs,
      setTimer: (delayMs: number, callback: () => void) => clock.setTimer(delayMs, callback),
    },
    fleet,
    removals: { uids: () => [], has: () => false, tell: () => {} },
    departures: { sendOff: () => {} },
    distributions: () => new Map(),
    policies: () => [],
    isPrimed: () => true,
  };
  return { telling: new Telling(dependencies as unknown as TellingDependencies), looksAtMs };
}

it.each([
  { looksTakeMs: 0, looks: [100, 200, 300] },
  { looksTakeMs: 25, looks: [100, 200, 300] },
  { looksTakeMs: 200, looks: [100, 900, 1700] },
])(
  'changes are told at once, or after a rest when that takes long: $looksTakeMs ms',
  async ({ looksTakeMs, looks }) => {
    const clock = new FakeClock();
    const { telling, looksAtMs } = toldBy(clock, looksTakeMs);
    while (looksAtMs.length < looks.length) {
      telling.soon();
      await clock.advance(10);
    }
    expect(looksAtMs).toEqual(looks);
  },
);

it('after calm a change is told at once, however long the last look took', async () => {
  const clock = new FakeClock();
  const { telling, looksAtMs } = toldBy(clock, 500);
  telling.soon();
  await clock.advance(10_000);
  telling.soon();
  await clock.advance(10_000);
  expect(looksAtMs).toEqual([100, 10_100]);
});
