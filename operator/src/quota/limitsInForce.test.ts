import { describe, expect, it } from 'vitest';
import { limitsInForce } from './limitsInForce.ts';

const DEFAULTS = { maxConnections: 2, maxBandwidthBytesPerSecond: 100 };
const HOUR_MS = 3_600_000;

/** One connection from 08:00 to 20:00 in UTC, 8 otherwise; a minute until a connection is closed. */
const policy = {
  limits: { maxConnections: 8, maxTraffic: { bytes: 1e9, periodSeconds: 3600 } },
  closeAfterSeconds: 60,
  schedule: [
    {
      days: [0, 1, 2, 3, 4, 5, 6],
      from: 8 * 60,
      to: 20 * 60,
      timeZone: 'UTC',
      limits: { maxConnections: 1 },
    },
  ],
};

function connectionsAt(ms: number): number {
  return limitsInForce(DEFAULTS, policy, ms).limits.connections;
}

describe('the limits in force', () => {
  it('are the defaults where nothing covers', () => {
    const { limits, untilMs } = limitsInForce(DEFAULTS, undefined, 0);
    expect(limits).toMatchObject({ connections: 2, bandwidthBytesPerSecond: 100 });
    expect(untilMs).toBe(Number.POSITIVE_INFINITY);
  });

  it.each([
    ['long before', 7 * HOUR_MS, 8],
    // 60 s closeAfter, 60 s between clocks, 10.1 s of a lease.
    ['a second more before than what is leased may last', 8 * HOUR_MS - 131_200, 8],
    ['so long before as what is leased may last', 8 * HOUR_MS - 130_100, 1],
    ['in the window', 12 * HOUR_MS, 1],
    ['at its end', 20 * HOUR_MS, 1],
    ['when every clock shows its end', 20 * HOUR_MS + 60_000, 8],
  ])('%s: %s', (_name, ms, expected) => {
    expect(connectionsAt(ms)).toBe(expected);
  });

  it('are known until they change', () => {
    const seen: number[] = [];
    let ms = 0;
    while (ms < 48 * HOUR_MS) {
      const now = connectionsAt(ms);
      const { untilMs } = limitsInForce(DEFAULTS, policy, ms);
      expect(untilMs).toBeGreaterThan(ms);
      expect(connectionsAt(untilMs - 1)).toBe(now);
      expect(connectionsAt(untilMs)).not.toBe(now);
      seen.push(now);
      ms = untilMs;
    }
    expect(seen).toEqual([8, 1, 8, 1, 8]);
  });

  it('are known for good when the schedule changes nothing', () => {
    const [window] = policy.schedule;
    const always = { ...policy, schedule: [{ ...window!, from: 0, to: 1440 }] };
    const { limits, untilMs } = limitsInForce(DEFAULTS, always, 0);
    expect(limits.connections).toBe(1);
    expect(untilMs).toBe(Number.POSITIVE_INFINITY);
  });

  it('keep the limit of bytes, which is by period', () => {
    const { traffic } = limitsInForce(DEFAULTS, policy, 0).limits;
    expect(traffic).toEqual({ bytes: 1e9, periodMs: 3_600_000 });
  });
});
