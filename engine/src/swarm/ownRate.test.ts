import { describe, expect, it } from 'vitest';
import { OwnRate } from './ownRate.ts';

describe('what comes from all peers together', () => {
  it('says how long so much takes, from the first interval on', () => {
    const rate = new OwnRate();
    expect(rate.msFor(1_000_000)).toBe(0);
    rate.tick(50_000, 100);
    expect(rate.msFor(1_000_000)).toBeCloseTo(2000);
  });

  it('is that of the last seconds, however unevenly it comes', () => {
    const rate = new OwnRate();
    for (let tick = 0; tick < 100; tick += 1) rate.tick(5_000_000, 100);
    // From now on 16 KiB each half second.
    for (let tick = 0; tick < 600; tick += 1) rate.tick(tick % 5 === 0 ? 16_384 : 0, 100);
    const ratio = rate.msFor(131_072) / 4000;
    expect(ratio).toBeGreaterThan(0.8);
    expect(ratio).toBeLessThan(1.25);
  });
});
