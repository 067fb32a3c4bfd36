import { describe, expect, it } from 'vitest';
import { chooseServed, type SlotCandidate } from './uploadSlots.ts';

const NOW = 100_000;

function crowd(count: number, more: Partial<SlotCandidate>, first = 1): SlotCandidate[] {
  return Array.from({ length: count }, (_, at) => ({
    number: first + at,
    interested: true,
    servedSinceMs: undefined,
    ...more,
  }));
}

describe('who is served', () => {
  it('is everybody who is interested, and nobody else', () => {
    const served = chooseServed([...crowd(3, {}), ...crowd(2, { interested: false }, 10)], NOW);
    expect([...served]).toEqual([1, 2, 3]);
  });

  it('is at most 32 at once, and who was let in is not shut out for one that has just come', () => {
    const holders = crowd(32, { servedSinceMs: NOW - 9_999 });
    const served = chooseServed([...crowd(5, {}, 100), ...holders], NOW);
    expect([...served].sort()).toEqual(holders.map(({ number }) => number).sort());
  });

  it('gives way after ten seconds, the longest served first', () => {
    const old = crowd(31, { servedSinceMs: NOW - 20_000 });
    const oldest = crowd(1, { servedSinceMs: NOW - 30_000 }, 50);
    const served = chooseServed([...oldest, ...old, ...crowd(1, {}, 100)], NOW);
    expect(served.has(100)).toBe(true);
    expect(served.has(50)).toBe(false);
    expect(served.size).toBe(32);
  });

  it('keeps its turn as long as nobody waits', () => {
    expect(chooseServed(crowd(32, { servedSinceMs: 0 }), NOW).size).toBe(32);
  });

  it('gives up its place when it is not interested any more', () => {
    const left = crowd(32, { servedSinceMs: NOW, interested: false });
    expect([...chooseServed([...left, ...crowd(1, {}, 100)], NOW)]).toEqual([100]);
  });
});
