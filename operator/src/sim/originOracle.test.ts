import { describe, expect, it } from 'vitest';
import { type OracleLimits, type OraclePart, OriginOracle } from './originOracle.ts';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const LOST_MS = 5_000;
const LIMITS: OracleLimits = {
  connections: 2,
  bandwidthBytesPerSecond: 1_000,
  trafficBytes: 10_000,
};

const part = (places: string[], change: Partial<OracleLimits> = {}): OraclePart => ({
  places,
  limits: { ...LIMITS, ...change },
});

function oracleOf(...parts: OraclePart[]) {
  const oracle = new OriginOracle({ parts, periodMs: HOUR_MS, lostMs: LOST_MS });
  const open = (place: string, atMs: number, wallMs = 0) => oracle.opened(place, atMs, wallMs);
  const write = (place: string, bytes: number, atMs: number, wallMs = 0) =>
    oracle.wrote(place, bytes, atMs, wallMs);
  return { oracle, open, write };
}

describe('the oracle of an origin', () => {
  it('sees one connection too many, whichever places it is at', () => {
    const { oracle, open } = oracleOf(part(['a', 'b']));
    open('a', 0);
    open('b', 1);
    expect(oracle.violations).toEqual([]);
    open('b', 2);
    expect(oracle.violations).toEqual(['0.002 s, a and b: 3 connections of 2']);
  });

  it('sees one byte too many in any second, and in a period', () => {
    const { oracle, write } = oracleOf(part(['a']));
    write('a', 600, 0);
    write('a', 400, 999);
    write('a', 600, 1_000);
    expect(oracle.violations).toEqual([]);
    write('a', 1, 1_001);
    expect(oracle.violations).toEqual(['1.001 s, a: 1001 bytes in a second of 1000']);
    for (let at = 1; at <= 9; at += 1) write('a', 930, at * 10_000);
    expect(oracle.violations).toHaveLength(1);
    write('a', 100, 100_000);
    expect(oracle.violations.at(-1)).toMatch(/10071 bytes in the period of 10000/);
    write('a', 100, 100_500, HOUR_MS);
    expect(oracle.violations).toHaveLength(2);
  });

  it('lets go on what was granted before a limit was lowered, until that is over', () => {
    const { oracle, open } = oracleOf(part(['a']));
    const change = oracle.changed([part(['a'], { connections: 1 })]);
    open('a', 0);
    open('a', 1);
    oracle.inForce(change, 10_000);
    oracle.closed('a');
    open('a', 9_999);
    expect(oracle.violations).toEqual([]);
    oracle.closed('a');
    open('a', 10_001);
    expect(oracle.violations).toHaveLength(1);
  });

  it('sees a second allowance for a host that was made anew', () => {
    const { oracle, open } = oracleOf(part(['a']));
    open('a', 0);
    open('a', 1);
    oracle.inForce(oracle.changed([part(['a'], { connections: 0 })]), 10_000);
    oracle.inForce(oracle.changed([part(['a'])]), 12_000);
    open('a', 5_000);
    expect(oracle.violations).toEqual(['5.000 s, a: 3 connections of 2']);
  });

  it('sees a second allowance for a part that was split off', () => {
    const { oracle, open } = oracleOf(part(['a', 'b']));
    open('a', 0);
    open('a', 1);
    oracle.inForce(oracle.changed([part(['a']), part(['b'])]), 10_000);
    // Of its own limit, while the other part has what was common.
    open('b', 2);
    open('b', 3);
    expect(oracle.violations).toEqual([]);
    open('a', 4);
    expect(oracle.violations).toEqual(['0.004 s, a: 3 connections of 2']);
  });

  it('counts together what comes together, and what each part had before', () => {
    const { oracle, open } = oracleOf(part(['a']), part(['b'], { connections: 1 }));
    for (const place of ['a', 'a', 'b']) open(place, 0);
    oracle.inForce(oracle.changed([part(['a', 'b'])]), 10_000);
    expect(oracle.violations).toEqual([]);
    oracle.closed('b');
    // It was granted before, and a lost holder's connections are at another place.
    open('b', 10_001);
    expect(oracle.violations).toEqual([]);
    oracle.closed('b');
    open('b', 10_000 + LOST_MS + 1);
    expect(oracle.violations).toHaveLength(1);
  });

  it('knows no place that is another one by the time that something was taken there', () => {
    const { oracle, write } = oracleOf(part(['a', 'b']));
    for (let at = 0; at < 9; at += 1) write('a', 1_000, at * 2_000);
    oracle.inForce(oracle.changed([part(['b']), part(['a'], { trafficBytes: 5_000 })]), 20_000);
    write('a', 1_000, 19_000);
    expect(oracle.violations).toEqual([]);
    write('a', 1, 40_000);
    expect(oracle.violations).toEqual(['40.000 s, a: 10001 bytes in the period of 10000']);
  });

  it('holds the limits of a window while the clock of the origin shows a time in it', () => {
    const window = {
      offsetMinutes: 330,
      fromMinute: 1_439,
      toMinute: 1,
      limits: { connections: 1 },
    };
    const { oracle, open } = oracleOf({ ...part(['a']), window });
    const midnightMs = 18.5 * HOUR_MS;
    open('a', 0, midnightMs - 2 * MINUTE_MS);
    open('a', 1, midnightMs - MINUTE_MS - 1);
    expect(oracle.violations).toEqual([]);
    for (const wallMs of [midnightMs - MINUTE_MS, midnightMs + MINUTE_MS - 1]) {
      oracle.closed('a');
      open('a', 2, wallMs);
    }
    expect(oracle.violations).toHaveLength(2);
    oracle.closed('a');
    open('a', 3, midnightMs + MINUTE_MS);
    expect(oracle.violations).toHaveLength(2);
  });
});
