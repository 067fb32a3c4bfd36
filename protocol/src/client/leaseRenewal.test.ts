import { describe, expect, it } from 'vitest';
import { shouldRenew } from './leaseRenewal.ts';

const STATE = { acknowledged: 1, requestedAtMs: 0, ttlMs: 9_000, futileAt: undefined, nowMs: 100 };
const PLENTY = {
  grantedPieces: 10,
  unfinishedPieces: 9,
  leftMs: 5_000,
  isMoreWanted: true,
  wantedShare: 1,
  toldLatencyMs: undefined,
  latencyMs: undefined,
  mayAcknowledge: false,
  isCalled: false,
};

describe('a lease is renewed', () => {
  it.each([
    ['not while time and work are plenty', STATE, PLENTY, false],
    ['each third of its life', { ...STATE, nowMs: 3_000 }, PLENTY, true],
    [
      'not at once again after a try that was lost',
      { ...STATE, nowMs: 3_500, triedAtMs: 3_000 },
      PLENTY,
      false,
    ],
    ['when the server calls', { ...STATE, nowMs: 50 }, { ...PLENTY, isCalled: true }, true],
    [
      'when the server calls, not at once after the last time',
      { ...STATE, nowMs: 49 },
      { ...PLENTY, isCalled: true },
      false,
    ],
    [
      'not when the server calls and no more is wanted',
      { ...STATE, nowMs: 200 },
      { ...PLENTY, isCalled: true, isMoreWanted: false },
      false,
    ],
    ['when half of the work is done', STATE, { ...PLENTY, unfinishedPieces: 5 }, true],
    [
      'not for more work when no more is wanted',
      STATE,
      { ...PLENTY, unfinishedPieces: 1, leftMs: 10, isMoreWanted: false },
      false,
    ],
    ['for a much higher rate', { ...STATE, nowMs: 200 }, { ...PLENTY, wantedShare: 1.3 }, true],
    [
      'for a higher rate not at once after the last time',
      { ...STATE, nowMs: 199 },
      { ...PLENTY, wantedShare: 1.3 },
      false,
    ],
    [
      'when the origin answers much slower than was told',
      { ...STATE, nowMs: 200 },
      { ...PLENTY, toldLatencyMs: 80, latencyMs: 100 },
      true,
    ],
    [
      'when the origin answers at once and nothing was told of it',
      { ...STATE, nowMs: 200 },
      { ...PLENTY, latencyMs: 1 },
      true,
    ],
    [
      'not for a little of latency',
      { ...STATE, nowMs: 200 },
      { ...PLENTY, toldLatencyMs: 20, latencyMs: 34 },
      false,
    ],
    ['when the work lasts less than 0.3 s', STATE, { ...PLENTY, leftMs: 299 }, true],
    [
      'not again for work before there is progress, when there was none to add',
      { ...STATE, futileAt: 5 },
      { ...PLENTY, unfinishedPieces: 5, leftMs: 10 },
      false,
    ],
    [
      'again after progress',
      { ...STATE, futileAt: 5 },
      { ...PLENTY, unfinishedPieces: 4, leftMs: 10 },
      true,
    ],
    ['when a smaller grant is kept to', STATE, { ...PLENTY, mayAcknowledge: true }, true],
  ])('%s', (_name, state, left, expected) => {
    expect(shouldRenew(state, left)).toBe(expected);
  });
});
