import { describe, expect, it } from 'vitest';
import {
  isBehind,
  isOlder,
  isRunningShort,
  isWithin,
  type JournalMark,
  type JournalPosition,
  nextMark,
  SEQUENCE_STEP,
} from './marks.ts';

const MIB = 1024 * 1024;
const HOST = 'cdn.example.com:443';
const limits = { bandwidthBytesPerSecond: 100 * MIB, traffic: { bytes: 10_000 * MIB } };

function at(change: Partial<JournalPosition> = {}): JournalPosition {
  return { identity: 'a', sequence: 10, trafficBytes: 50 * MIB, periodStartMs: 1e12, ...change };
}

const first = nextMark(HOST, at(), 9, limits, undefined);

describe('a mark', () => {
  it('is ahead of the journal, in documents and in what eight seconds may take', () => {
    expect(first).toEqual({
      host: HOST,
      identity: 'a',
      written: 9,
      sequence: 10 + SEQUENCE_STEP,
      trafficBytes: 850 * MIB,
      periodStartMs: 1e12,
    });
  });

  it('stays while half of it is left, but for what is known to be written', () => {
    const later = at({ sequence: 4_000, trafficBytes: 400 * MIB });
    expect(isRunningShort(later, first, limits)).toBe(false);
    expect(nextMark(HOST, later, 3_999, limits, first)).toEqual({ ...first, written: 3_999 });
  });

  it.each([
    { what: 'documents', position: { sequence: 4_200 } },
    { what: 'traffic', position: { trafficBytes: 460 * MIB } },
    { what: 'the period', position: { periodStartMs: 2e12, trafficBytes: 0 } },
    { what: 'the journal', position: { identity: 'b' } },
  ])('is moved when less than half is left of $what', ({ position }) => {
    expect(isRunningShort(at(position), first, limits)).toBe(true);
    const moved = nextMark(HOST, at(position), 10, limits, first);
    expect(isWithin(at(position), moved)).toBe(true);
    expect(isRunningShort(at(position), moved, limits)).toBe(false);
  });

  it('is not moved beyond the limit of traffic, over which nothing is granted', () => {
    const near = at({ trafficBytes: 9_900 * MIB });
    const mark = nextMark(HOST, near, 9, limits, undefined);
    expect(mark.trafficBytes).toBe(10_000 * MIB);
    expect(isRunningShort(at({ trafficBytes: 10_000 * MIB }), mark, limits)).toBe(false);
    const over = at({ trafficBytes: 10_001 * MIB });
    expect(nextMark(HOST, over, 9, limits, mark).trafficBytes).toBe(10_001 * MIB);
  });

  it('never goes back within a period', () => {
    const settled = at({ sequence: 6_000, trafficBytes: 1 });
    expect(nextMark(HOST, settled, 9, limits, first).trafficBytes).toBe(first.trafficBytes);
    const anew = at({ sequence: 6_000, trafficBytes: 1, periodStartMs: 2e12 });
    expect(nextMark(HOST, anew, 9, limits, first).trafficBytes).toBe(800 * MIB + 1);
  });

  it('lets nothing be written that is beyond it', () => {
    expect(isWithin(at(), first)).toBe(true);
    expect(isWithin(at({ sequence: first.sequence }), first)).toBe(true);
    expect(isWithin(at({ sequence: first.sequence + 1 }), first)).toBe(false);
    expect(isWithin(at({ trafficBytes: first.trafficBytes + 1 }), first)).toBe(false);
    expect(isWithin(at({ periodStartMs: 2e12, trafficBytes: 0 }), first)).toBe(false);
    // What was appended before the period that is marked began.
    expect(isWithin(at({ periodStartMs: 1, trafficBytes: 2 ** 50 }), first)).toBe(true);
  });

  it('is older when it says less', () => {
    const moved = nextMark(HOST, at({ sequence: 5_000 }), 9, limits, first);
    expect([isOlder(first, moved), isOlder(moved, first), isOlder(first, first)]).toEqual([
      true,
      false,
      false,
    ]);
    expect(isOlder(first, { ...first, trafficBytes: first.trafficBytes + 1 })).toBe(true);
    expect(isOlder({ ...first, periodStartMs: 2e12, trafficBytes: 0 }, first)).toBe(false);
  });

  it('tells a journal that lacks something, and another one, from its own', () => {
    const mark: JournalMark = { ...first, written: 100 };
    expect(isBehind({ identity: 'a', sequence: 100 }, mark)).toBe(false);
    expect(isBehind({ identity: 'a', sequence: 99 }, mark)).toBe(true);
    expect(isBehind({ identity: '', sequence: 0 }, mark)).toBe(true);
    expect(isBehind({ identity: 'b', sequence: 5_000 }, mark)).toBe(true);
  });
});
