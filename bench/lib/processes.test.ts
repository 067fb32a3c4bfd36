import { expect, it } from 'vitest';
import { parseProcessorSeconds } from './processes.ts';

it('the processor time of a process is its own and that of children it waited for', () => {
  const stat =
    '42 (a) (b) S 1 42 42 0 -1 4194304 100 200 0 0 150 50 30 20 20 0 11 0 1000 2000 300 1 2 3';
  expect(parseProcessorSeconds(stat)).toBe(2.5);
});
