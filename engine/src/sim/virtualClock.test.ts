import { describe, expect, it } from 'vitest';
import { VirtualClock } from './virtualClock.ts';

describe('the virtual clock', () => {
  it('comes to the end of its time also when nothing is left to come', async () => {
    const clock = new VirtualClock();
    let fired = 0;
    clock.setTimer(5, () => {
      fired += 1;
    });
    expect(await clock.run(() => false, 100)).toBe(false);
    expect([fired, clock.now()]).toEqual([1, 100]);
    expect(await clock.run(() => false, 50)).toBe(false);
    expect(clock.now()).toBe(150);
  });

  it('ends when it is over, at the time of the event that made it so', async () => {
    const clock = new VirtualClock();
    let isOver = false;
    clock.setTimer(7, () => {
      isOver = true;
    });
    expect(await clock.run(() => isOver, 100)).toBe(true);
    expect(clock.now()).toBe(7);
  });
});
