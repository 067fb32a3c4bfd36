import { describe, expect, it } from 'vitest';
import { figureLine, figureOf, median } from './figures.ts';

describe('a figure', () => {
  it('has the median, also of an even number of runs', () => {
    expect(median([5, 1, 3])).toBe(3);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it('of speed holds when the median run does', () => {
    const goal = { atMost: 1.5, judgedBy: 'median' } as const;
    expect(figureOf('time', 'ratio', [1.4, 1.45, 1.6], goal).holds).toBe(true);
    expect(figureOf('time', 'ratio', [1.4, 1.55, 1.6], goal).holds).toBe(false);
  });

  it('of a limit does not hold when one run is over it by a hair', () => {
    const goal = { atMost: 1, judgedBy: 'everyRun' } as const;
    expect(figureOf('window', 'ratio', [0.9, 1], goal).holds).toBe(true);
    const figure = figureOf('window', 'ratio', [0.9, 1.000001], goal);
    expect(figure).toMatchObject({ max: 1, holds: false });
    expect(figureLine(figure)).toContain('FAILS');
  });

  it('may have to be at least something', () => {
    const goal = { atLeast: 0.75, judgedBy: 'median' } as const;
    expect(figureOf('ratio', '', [0.7, 0.76, 0.8], goal)).toMatchObject({ holds: true });
    expect(figureOf('ratio', '', [0.7, 0.74, 0.8], goal)).toMatchObject({ holds: false });
    const always = figureOf('ratio', '', [0.74, 0.8], { ...goal, judgedBy: 'everyRun' });
    expect(always).toMatchObject({ goal: 'every run >= 0.75', holds: false });
  });

  it('may have to be exactly something', () => {
    const goal = { exactly: 2, judgedBy: 'everyRun' } as const;
    expect(figureOf('writes', '', [2, 2], goal)).toMatchObject({
      goal: 'every run = 2',
      holds: true,
    });
    for (const values of [[2, 3, 2], [1.9999999]]) {
      expect(figureOf('writes', '', values, goal).holds).toBe(false);
    }
    expect(figureOf('writes', '', [2, 3, 2], { ...goal, judgedBy: 'median' }).holds).toBe(true);
  });

  it('without a goal is only told', () => {
    expect(figureOf('share', '%', [70])).not.toHaveProperty('holds');
  });

  it('of nothing is refused', () => {
    expect(() => figureOf('time', 's', [])).toThrow('time: nothing was measured');
  });
});
