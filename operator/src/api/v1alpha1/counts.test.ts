import { expect, it } from 'vitest';
import { nodesOf } from './counts.ts';

it.each([
  { count: 3, total: 10, up: 3, down: 3 },
  { count: '3', total: 10, up: 3, down: 3 },
  { count: '25%', total: 10, up: 3, down: 2 },
  { count: '100%', total: 7, up: 7, down: 7 },
  { count: '1%', total: 7, up: 1, down: 0 },
  { count: '0%', total: 7, up: 0, down: 0 },
  { count: '7%', total: 100, up: 7, down: 7 },
  { count: '29%', total: 100, up: 29, down: 29 },
])('$count of $total nodes is $up or $down', ({ count, total, up, down }) => {
  expect(nodesOf(count, total, 'up')).toBe(up);
  expect(nodesOf(count, total, 'down')).toBe(down);
});
