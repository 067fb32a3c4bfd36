import { expect, it } from 'vitest';
import { trackerAnswer } from './tracker.ts';

it('a peer is four bytes of address and two of port', () => {
  const answer = trackerAnswer([{ address: '10.80.1.2' }, { address: '10.80.2.1' }]);
  const head = 'd8:intervali60e12:min intervali60e5:peers12:';
  expect(answer.subarray(0, head.length).toString()).toBe(head);
  expect([...answer.subarray(head.length)]).toEqual([
    ...[10, 80, 1, 2, 26, 225],
    ...[10, 80, 2, 1, 26, 225],
    'e'.charCodeAt(0),
  ]);
});
