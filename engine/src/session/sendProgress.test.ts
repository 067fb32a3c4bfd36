import { expect, it } from 'vitest';
import { SendProgress } from './sendProgress.ts';

it('knows since when nothing is taken of what waits', () => {
  const progress = new SendProgress(0);
  progress.writes(100, 0, 5_000);
  expect(progress.lastTakenAtMs(100, 9_000)).toBe(5_000);
  progress.writes(100, 100, 10_000);
  expect(progress.lastTakenAtMs(200, 11_000)).toBe(5_000);
  expect(progress.lastTakenAtMs(150, 12_000)).toBe(12_000);
  expect(progress.lastTakenAtMs(150, 15_000)).toBe(12_000);
});

it('counts what was taken in the last second or two, and no more', () => {
  const progress = new SendProgress(0);
  progress.writes(1_000, 0, 0);
  expect(progress.takenLatelyBytes(1_000, 100)).toBe(0);
  expect(progress.takenLatelyBytes(400, 200)).toBe(600);
  expect(progress.takenLatelyBytes(300, 1_100)).toBe(700);
  expect(progress.takenLatelyBytes(300, 2_100)).toBe(100);
  expect(progress.takenLatelyBytes(300, 4_200)).toBe(0);
});
