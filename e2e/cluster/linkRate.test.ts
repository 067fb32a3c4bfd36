import { describe, expect, it } from 'vitest';
import { parseBitsPerSecond } from './linkRate.ts';

describe('a link rate', () => {
  it.each([
    ['100mbit', 100_000_000],
    ['1gbit', 1_000_000_000],
    ['2.5mbit', 2_500_000],
    ['64kbit', 64_000],
  ])('of %s is %i bits per second', (text, rate) => {
    expect(parseBitsPerSecond(text)).toBe(rate);
  });

  it.each(['100', '100MB', '-1mbit', '0mbit', '', 'mbit', '1e3mbit'])('refuses "%s"', (text) => {
    expect(() => parseBitsPerSecond(text)).toThrow('write a positive number with a unit');
  });
});
