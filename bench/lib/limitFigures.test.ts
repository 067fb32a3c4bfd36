import { describe, expect, it } from 'vitest';
import { rateBetween, worstSecond } from './limitFigures.ts';

describe('what a meter says of a limit', () => {
  it('finds the worst second wherever it begins, both of its ends included', () => {
    expect(
      worstSecond([
        [0, 50],
        [900, 10],
        [1000, 10],
        [1001, 45],
        [3000, 60],
      ]),
    ).toBe(70);
    expect(
      worstSecond([
        [900, 10],
        [1500, 10],
        [1900, 45],
      ]),
    ).toBe(65);
    expect(worstSecond([])).toBe(0);
  });

  it('gives the rate between two times', () => {
    expect(
      rateBetween(
        [
          [99, 1000],
          [100, 20],
          [599, 30],
          [600, 1000],
        ],
        100,
        600,
      ),
    ).toBe(100);
  });
});
