import { describe, expect, it } from 'vitest';
import { NewsPace } from './newsPace.ts';

const MANY = 1000;

describe('the pace of news', () => {
  it('lets the first one go at once, and those of the first second soon', () => {
    const pace = new NewsPace(250);
    expect(pace.waitMs(MANY, 5000)).toBeLessThanOrEqual(0);
    pace.told(5000);
    expect(pace.waitMs(MANY, 5000)).toBe(50);
    pace.told(5950);
    expect(pace.waitMs(MANY, 5990)).toBe(10);
  });

  it('makes them wait while many are to come, and not for the last ones', () => {
    const pace = new NewsPace(250);
    pace.told(0);
    pace.told(4000);
    expect(pace.waitMs(MANY, 4100)).toBe(150);
    expect(pace.waitMs(65, 4100)).toBe(150);
    expect(pace.waitMs(64, 4100)).toBeLessThanOrEqual(0);
  });
});
