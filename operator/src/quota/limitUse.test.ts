/** What an origin sees of lease loops under a limit, from their first request on, on a virtual clock. */
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { describe, expect, it } from 'vitest';
import { LeasedHolders } from '../testing/leasedHolders.ts';

/** A guess of the latency is mended, and what it cost comes back a second later. */
const SETTLED_MS = 2_000;
const RUN_MS = 12_000;

describe('a limit that lease loops are under', () => {
  it.each(
    [1, 4].flatMap((holders) =>
      [0, 20].flatMap((timeToFirstByteMs) =>
        [1, 8].map((each) => ({ holders, connections: each * holders, timeToFirstByteMs })),
      ),
    ),
  )(
    'is used to 95 % by $holders over $connections connections, first byte after $timeToFirstByteMs ms',
    async ({ holders, connections, timeToFirstByteMs }) => {
      const limit = { limitBytesPerSecond: 20e6, connections, origin: { timeToFirstByteMs } };
      const clock = new VirtualClock();
      const random = new SeededRandom(1);
      const all = new LeasedHolders({ ...limit, forMs: RUN_MS }, clock, () => random.next());
      for (let at = 1; at <= holders; at += 1) all.join(`relay-${at}`);
      await clock.run(() => false, RUN_MS);
      expect(all.worstSecondShare()).toBeLessThanOrEqual(1);
      expect(all.usedShare(SETTLED_MS, RUN_MS)).toBeGreaterThanOrEqual(0.95);
    },
  );
});
