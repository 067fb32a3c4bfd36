import { describe, expect, it } from 'vitest';
import type { HeldBack, OriginUsage } from '../controllers/dataSide.ts';
import { aUsage } from '../testing/objects.ts';
import { notLimiting, seeLimiting, tellLimiting } from './limiting.ts';
import type { OriginVerdict } from './origin.ts';
import { originStatus } from './originStatus.ts';

const MIB = 2 ** 20;
const LIMITS = {
  connections: 4,
  bandwidthBytesPerSecond: MIB,
  trafficBytes: 10 * MIB,
};
const fine: OriginVerdict = { policy: undefined, problem: undefined, shared: undefined };

function held(uid: string, overrides: Partial<HeldBack> = {}): HeldBack {
  return {
    uid,
    reason: 'BandwidthInUse',
    waiting: 0,
    rateBytesPerSecond: MIB / 2,
    wantRateBytesPerSecond: 2 * MIB,
    ...overrides,
  };
}

function statusOf(
  usage: Partial<OriginUsage>,
  heldBack: readonly HeldBack[] = [],
  previous: Parameters<typeof originStatus>[0]['previous'] = undefined,
  journals: Parameters<typeof originStatus>[0]['journals'] = undefined,
) {
  return originStatus({
    generation: 1,
    previous,
    verdict: fine,
    usage: aUsage({ limits: LIMITS, ...usage }),
    journals,
    heldBack,
    nameOf: (uid) => (uid === 'gone' ? undefined : `ml/${uid}`),
    now: '2026-01-01T00:00:00Z',
  });
}

function conditionOf(status: ReturnType<typeof statusOf>, type: string) {
  return status.conditions?.find((condition) => condition.type === type);
}

describe('the status of an Origin', () => {
  it('shows limits, what is leased of them and what is left', () => {
    const { summary } = statusOf({
      connections: 3,
      rateBytesPerSecond: MIB / 2,
      windowBytes: 0.75 * MIB,
      trafficBytes: 2 * MIB,
      chargedBytes: 4 * MIB,
    });
    expect(summary).toEqual({
      connections: '3 of 4',
      bandwidth: '512 KiB/s of 1 MiB/s',
      traffic: '2 MiB of 10 MiB',
      headroom: '1, 256 KiB/s, 6 MiB',
    });
  });

  it('is Stalled while a journal cannot be read, and keeps its marks', () => {
    const journals = [
      { host: 'a:80', identity: 'i', written: 1, sequence: 2, trafficBytes: 3, schema: 1 },
    ];
    const trouble = { reason: 'NewerSchema', message: 'it is of a newer release' } as const;
    const previous = { observedGeneration: 1, journals };
    const status = statusOf({}, [], previous, { marks: undefined, behind: [], trouble });
    for (const [type, value] of [
      ['Ready', 'False'],
      ['Stalled', 'True'],
    ] as const) {
      expect(conditionOf(status, type)).toMatchObject({ status: value, reason: 'NewerSchema' });
    }
    expect(status.journals).toEqual(journals);
  });

  it('says no headroom of traffic where there is no such limit', () => {
    const { summary } = statusOf({ limits: { ...LIMITS, trafficBytes: undefined } });
    expect(summary).toMatchObject({ traffic: '0 B', headroom: '4, 1 MiB/s' });
  });

  it.each<[string, HeldBack[], string, string]>([
    ['nothing', [], 'WithinLimits', 'no limit holds a distribution back'],
    [
      'bandwidth',
      [held('a', { waiting: 1 }), held('b')],
      'BandwidthInUse',
      'all of spec.limits.maxBandwidth (1 MiB/s) is in use: ml/a gets 512 KiB/s, wants up to 2 MiB/s (1 process waits); ml/b gets 512 KiB/s, wants up to 2 MiB/s; until others are done, or the limit is raised',
    ],
    [
      'traffic before all others',
      [held('a'), held('gone', { reason: 'TrafficExhausted', waiting: 2 })],
      'TrafficExhausted',
      'spec.limits.maxTraffic (10 MiB) is used up: ml/a gets 512 KiB/s, wants up to 2 MiB/s; a distribution that is gone (gone) (2 processes wait); until the next period begins at 2026-02-01T00:01:00.000Z, or the limit is raised',
    ],
    [
      'connections, and only some names',
      Array.from({ length: 7 }, (_, at) => held(`d${at}`, { reason: 'ConnectionsInUse' })),
      'ConnectionsInUse',
      'and 2 more',
    ],
  ])('says what holds back: %s', (_name, heldBack, reason, message) => {
    const status = statusOf({ periodEnd: '2026-02-01T00:01:00.000Z' }, heldBack);
    const limiting = conditionOf(status, 'Limiting');
    expect(limiting).toMatchObject({ reason, status: heldBack.length > 0 ? 'True' : 'False' });
    expect(limiting?.message).toContain(message);
    expect(conditionOf(status, 'Ready')?.status).toBe('True');
  });

  it('says while more is leased than a limit that was lowered, how much and until when', () => {
    const status = statusOf({
      connections: 6,
      windowBytes: 3 * MIB,
      withinLimitsBy: '2026-01-01T00:00:10.100Z',
    });
    for (const [type, value] of [
      ['Ready', 'False'],
      ['Reconciling', 'True'],
    ] as const) {
      expect(conditionOf(status, type)).toMatchObject({ status: value, reason: 'LimitLowered' });
    }
    expect(conditionOf(status, 'Reconciling')?.message).toContain(
      '6 connections of 4 and 3 MiB/s of 1 MiB/s; nothing is granted beside them, and they end or come down by 2026-01-01T00:00:10.100Z',
    );
  });

  it('says on both Origins that they name the same host', () => {
    const statusFor = (verdict: OriginVerdict) =>
      originStatus({
        generation: 1,
        previous: undefined,
        verdict,
        usage: undefined,
        journals: undefined,
        heldBack: [],
        nameOf: () => undefined,
        now: '2026-01-01T00:00:00Z',
      });
    const twice = { reason: 'HostNamedTwice', message: 'of the older' } as const;
    const older = statusFor({ ...fine, shared: twice });
    expect(conditionOf(older, 'HostsShared')).toMatchObject({ status: 'True', ...twice });
    expect(conditionOf(older, 'Ready')?.status).toBe('True');
    const conflict = { reason: 'HostConflict', message: 'of the younger' } as const;
    const younger = statusFor({ ...fine, problem: conflict, shared: conflict });
    expect(conditionOf(younger, 'HostsShared')).toMatchObject({ status: 'True', ...conflict });
    expect(conditionOf(younger, 'Stalled')?.status).toBe('True');
    expect(conditionOf(statusFor(fine), 'HostsShared')).toBeUndefined();
  });

  it('keeps since when the traffic is used up over a change of leaders, but not into a new period', () => {
    const before = statusOf({ periodStart: 'p1', exhaustedAt: 't1' });
    expect(before.usage?.exhaustedAt).toBe('t1');
    const usageAfter = (usage: Partial<OriginUsage>) => statusOf(usage, [], before).usage;
    expect(usageAfter({ periodStart: 'p1', exhaustedAt: 't2' })?.exhaustedAt).toBe('t1');
    expect(usageAfter({ periodStart: 'p2', exhaustedAt: 't2' })?.exhaustedAt).toBe('t2');
    expect(usageAfter({ periodStart: 'p1' })?.exhaustedAt).toBeUndefined();
  });
});

describe('whom limits hold back', () => {
  it('is said a while longer, so that the condition does not flicker', () => {
    const seen = seeLimiting(notLimiting, [held('a')], 1_000);
    expect(seeLimiting(seen, [], 9_000).heldBack).toEqual([held('a')]);
    expect(seeLimiting(seen, [], 20_000).heldBack).toEqual([]);
  });

  it('is told by an event once for each reason, and again only much later', () => {
    const seen = seeLimiting(notLimiting, [held('a')], 1_000);
    const first = tellLimiting(seen, 'BandwidthInUse', 1_000);
    expect(first.isDue).toBe(true);
    const second = tellLimiting(first.limiting, 'BandwidthInUse', 9_000);
    expect(second.isDue).toBe(false);
    const other = tellLimiting(second.limiting, 'TrafficExhausted', 9_000);
    expect(other.isDue).toBe(true);
    expect(tellLimiting(other.limiting, 'BandwidthInUse', 700_000).isDue).toBe(true);
    expect(tellLimiting(other.limiting, undefined, 700_000).isDue).toBe(false);
  });
});
