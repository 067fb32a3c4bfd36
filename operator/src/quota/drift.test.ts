import { describe, expect, it } from 'vitest';
import { closedAfterMs, expiryMarginMs, grantableShare } from './drift.ts';

const TTL_MS = 10_000;
/** leasePacer.ts: what holders take off, whatever the drift. */
const HOLDER_DRIFT = 0.001;

describe.each([0.001, 0.01, 0.05])('among clocks that are %d off', (drift) => {
  const slow = 1 - drift;
  const fast = 1 + drift;

  it('a lease counts until the slowest holder has ended it, by the fastest leader', () => {
    const holderMs = (TTL_MS * (1 - HOLDER_DRIFT)) / slow;
    const leaderMs = (TTL_MS + expiryMarginMs(TTL_MS, drift)) / fast;
    expect(leaderMs).toBeGreaterThan(holderMs);
    expect(leaderMs).toBeLessThan(holderMs * (1 + 3 * drift) + 100);
  });

  it.each([1_000, 120_000, 86_400_000])('an origin has closed what is idle for %d ms', (ms) => {
    expect(closedAfterMs(ms, drift) / fast).toBeGreaterThan(ms / slow);
  });

  it('the fastest holder takes no more than the limit in a second', () => {
    const rate = grantableShare(drift) * (1 - HOLDER_DRIFT) * fast;
    expect(rate).toBeLessThanOrEqual(1 + 1e-12);
  });
});

it('clocks as good as holders take for granted cost nothing of a rate', () => {
  expect(grantableShare(0.001)).toBe(1);
});
