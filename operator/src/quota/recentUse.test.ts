import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RecentUse } from './recentUse.ts';

const usage = (slackBytes: number, windowBytes = slackBytes) => ({
  connections: 0,
  rateBytesPerSecond: 0,
  trafficBytes: 0,
  slackBytes,
  windowBytes,
});

it('what is given back counts for a second more', () => {
  const recent = new RecentUse(1_050);
  expect(recent.peak(0)).toEqual({ slackBytes: 0, windowBytes: 0 });
  recent.note(usage(10, 100), 0);
  recent.note(usage(4, 120), 5_000);
  expect(recent.peak(5_000)).toEqual({ slackBytes: 10, windowBytes: 120 });
  expect(recent.peak(6_000)).toEqual({ slackBytes: 10, windowBytes: 120 });
  expect(recent.peak(6_100)).toEqual({ slackBytes: 4, windowBytes: 120 });
});

it('falls a second after what is in force was given back', () => {
  const recent = new RecentUse(1_050);
  recent.note(usage(10, 100), 0);
  expect(recent.fallsAtMs(0)).toBe(Number.POSITIVE_INFINITY);
  recent.note(usage(4, 100), 5_000);
  recent.note(usage(2, 100), 5_200);
  expect(recent.fallsAtMs(5_300)).toBe(6_050);
  expect(recent.peak(6_051).slackBytes).toBe(4);
  expect(recent.fallsAtMs(6_051)).toBe(6_250);
});

it('what is not known counts as everything for a second', () => {
  const recent = new RecentUse(1_050);
  recent.unknown(100);
  recent.note(usage(4), 100);
  expect(recent.peak(1_100).slackBytes).toBe(Number.POSITIVE_INFINITY);
  expect(recent.peak(1_200).slackBytes).toBe(4);
});

it('is the largest value that was in force, whatever came after', () => {
  const events = fc.array(fc.record({ afterMs: fc.nat(700), value: fc.nat(50) }), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(events, fc.nat(1_500), (list, laterMs) => {
      const recent = new RecentUse(1_050);
      const intervals: { value: number; fromMs: number; toMs: number }[] = [];
      let nowMs = 0;
      for (const { afterMs, value } of list) {
        nowMs += afterMs;
        const last = intervals.at(-1);
        if (last !== undefined) last.toMs = nowMs;
        intervals.push({ value, fromMs: nowMs, toMs: Number.POSITIVE_INFINITY });
        recent.note(usage(value), nowMs);
      }
      const atMs = nowMs + laterMs;
      const within = intervals.filter(({ toMs }) => toMs >= atMs - 1_050);
      expect(recent.peak(atMs).slackBytes).toBe(Math.max(0, ...within.map(({ value }) => value)));
    }),
  );
});

it('of a request of our own counts all that it may take, and for a second more what it took', () => {
  const recent = new RecentUse(1_050);
  recent.note(usage(10, 100), 0);
  recent.probes('probe', 40);
  recent.note(usage(50, 140), 100);
  expect(recent.peak(200)).toEqual({ slackBytes: 50, windowBytes: 140 });
  expect(recent.probed('probe', 3, 300)).toBe(true);
  recent.note(usage(10, 100), 300);
  expect(recent.peak(300)).toEqual({ slackBytes: 13, windowBytes: 103 });
  expect(recent.fallsAtMs(300)).toBe(1_350);
  expect(recent.peak(1_351)).toEqual({ slackBytes: 10, windowBytes: 100 });
});

it('forgets nothing else that a request of our own was larger than', () => {
  const recent = new RecentUse(1_050);
  recent.note(usage(30), 0);
  recent.note(usage(0), 100);
  recent.probes('probe', 90);
  recent.note(usage(90), 100);
  recent.probed('probe', 1, 200);
  recent.note(usage(0), 200);
  expect(recent.peak(200).slackBytes).toBe(31);
});

it('counts what a request of our own has left open like any other lease', () => {
  const recent = new RecentUse(1_050);
  recent.probes('probe', 40);
  recent.note(usage(40), 0);
  recent.forgetProbe('probe');
  recent.note(usage(40), 100);
  expect(recent.probed('probe', 1, 200)).toBe(false);
  recent.note(usage(0), 200);
  expect(recent.peak(300).slackBytes).toBe(40);
  expect(recent.peak(1_300).slackBytes).toBe(0);
});
