import { describe, expect, it } from 'vitest';
import { ratesFrom, secondsUnder } from './windows.ts';

/** 100 bytes a second, none from 5 s to 7 s. */
const samples = Array.from({ length: 201 }, (_, at) => {
  const seconds = at / 10;
  const gap = Math.min(Math.max(seconds - 5, 0), 2);
  return { atMs: seconds * 1000, bytes: 100 * (seconds - gap) };
});

describe('the time under a floor', () => {
  it('is as long as the second before had less', () => {
    // From just after 5 s until just before 8 s.
    expect(secondsUnder(samples, 99.9, 2_000, 20_000)).toBeCloseTo(2.9, 1);
    expect(secondsUnder(samples, 49, 2_000, 20_000)).toBeCloseTo(1.9, 1);
  });

  it('is nothing outside of what is looked at', () => {
    expect(secondsUnder(samples, 99.9, 9_000, 20_000)).toBe(0);
    expect(secondsUnder(samples, 99.9, 1_000, 4_000)).toBe(0);
  });
});

it('rates are of the second before, by the time since the episode', () => {
  const rates = ratesFrom(samples, 6_000, 20_000);
  expect(rates[0]?.seconds).toBeCloseTo(-4.9, 1);
  const at = (seconds: number) => rates.find((rate) => Math.abs(rate.seconds - seconds) < 0.01);
  expect(at(-1)?.bytesPerSecond).toBeCloseTo(100, 0);
  expect(at(0.5)?.bytesPerSecond).toBeCloseTo(0, 0);
  expect(rates.at(-1)?.seconds).toBe(14);
});
