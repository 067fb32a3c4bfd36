import { expect, it } from 'vitest';
import { mostInAnySecond } from './reviews.ts';

it.each([
  [[], 0],
  [[5], 1],
  [[0, 999, 1000], 2],
  [[0, 600, 700, 1500, 1599, 1600], 4],
])('of the moments %j at most %i are in one second', (atMs, most) => {
  expect(mostInAnySecond(atMs)).toBe(most);
});
