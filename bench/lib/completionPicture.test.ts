import { expect, it } from 'vitest';
import { completionPicture } from './completionPicture.ts';

it('a curve rises a step at the time of each node, on a logarithmic axis', () => {
  const svg = completionPicture({
    title: 'a < b',
    subtitle: '2 nodes',
    boundSeconds: 10,
    curves: [{ name: 'one', nodeSeconds: [40, 20] }],
  });
  expect(svg).toContain('a &lt; b');
  const [, first, , second] = /M60 388\.0H([\d.]+)V([\d.]+)H([\d.]+)V64\.0"/.exec(svg) ?? [];
  const bound = Number(/M([\d.]+) 64V388/.exec(svg)?.[1]);
  // 10, 20 and 40 s are equally far from each other.
  expect(Number(second) - Number(first)).toBeCloseTo(Number(first) - bound, 0);
});
