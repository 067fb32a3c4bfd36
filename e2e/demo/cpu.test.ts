import { expect, it } from 'vitest';
import { cpuBusyShare, parseCpuTimes } from './cpu.ts';

it('the busy share of the processors is what was neither idle nor waiting for a disk', () => {
  const before = parseCpuTimes('cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n');
  const after = parseCpuTimes('cpu  160 0 80 890 60 0 10 0 0 0\ncpu0 1 2 3\n');
  expect(before).toEqual({ busy: 150, total: 1000 });
  expect(cpuBusyShare(before, after)).toBeCloseTo(100 / 200);
});

it('no time between two readings is not busy', () => {
  const times = parseCpuTimes('cpu  100 0 50 800 50 0 0 0 0 0');
  expect(cpuBusyShare(times, times)).toBe(0);
});
