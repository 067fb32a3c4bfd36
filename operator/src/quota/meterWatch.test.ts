import { describe, expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { MeterWatch, SHOWN_MS } from './meterWatch.ts';

const found = (holder: string, otherBytes = 2) => {
  return { holder, reason: 'UseUnderstated', reportedBytes: 1, otherBytes } as const;
};

describe('holders whose meters disagreed', () => {
  it('are told once each, the latest first, of the journals that are asked for', async () => {
    const clock = new FakeClock();
    const watch = new MeterWatch(clock);
    watch.note({ host: 'a' }, found('one'));
    await clock.advance(1);
    watch.note({ host: 'b' }, found('two'));
    await clock.advance(1);
    watch.note({ host: 'b' }, found('one', 3));
    watch.note({ host: 'c' }, found('three'));
    const lately = watch.lately([{ host: 'a' }, { host: 'b' }]);
    expect(lately).toEqual([
      { ...found('one', 3), atMs: 2 },
      { ...found('two'), atMs: 1 },
    ]);
  });

  it('are forgotten after a while, and when there are too many', async () => {
    const clock = new FakeClock();
    const watch = new MeterWatch(clock);
    for (let at = 0; at < 1_000; at += 1) watch.note({ host: 'a' }, found(`holder-${at}`));
    const lately = watch.lately([{ host: 'a' }]);
    expect(lately).toHaveLength(64);
    expect(lately.map(({ holder }) => holder)).toContain('holder-999');
    await clock.advance(SHOWN_MS);
    expect(watch.lately([{ host: 'a' }])).toEqual([]);
  });
});
