import type { LeaseGrant } from '@sluice/protocol/leaseMessages.ts';
import { describe, expect, it } from 'vitest';
import { settle } from '../testing/fakeClock.ts';
import { aLeasedDistribution, anOriginPolicy, PIECE_BYTES } from '../testing/leasing.ts';
import { ended, LIMITS, MIB, renewal, TestLeases } from '../testing/testLeases.ts';
import { LEASE_LIFE_MS } from './originBook.ts';

const LOWERED = { ...LIMITS, maxConnections: 2, maxBandwidthBytesPerSecond: 2 * MIB };

/** Two relays that hold the whole limit together. */
async function holding(ranges = true): Promise<{ leases: TestLeases; grants: LeaseGrant[] }> {
  const leases = await TestLeases.leading();
  leases.service.setDistribution(aLeasedDistribution({ ranges }));
  const first = await leases.acquire('a', { wantConnections: 2 });
  if (!ranges) return { leases, grants: [first] };
  const second = await leases.ask('b', { op: 'acquire', timeToFirstByteMs: 10 });
  const renewed = await leases.ask('a', renewal(first, 0));
  const later = second.outcome === 'granted' ? second : undefined;
  const grants = [renewed, later].flatMap((answer) =>
    answer?.outcome === 'granted' ? [answer.grant] : [],
  );
  return { leases, grants };
}

function lower(leases: TestLeases, limits = LOWERED): void {
  leases.service.setOrigins([anOriginPolicy(limits)]);
}

function usageIn(leases: TestLeases) {
  const usage = leases.service.usage('cdn');
  if (usage === undefined) throw new Error('nothing is known of the origin');
  return usage;
}

describe('a limit that is lowered', () => {
  it('calls all that hold leases, and is said not to hold yet', async () => {
    const { leases } = await holding();
    expect(usageIn(leases).withinLimitsBy).toBeUndefined();
    leases.asks.length = 0;
    lower(leases);
    expect(leases.asks).toContain('a');
    const { withinLimitsBy, limits } = usageIn(leases);
    expect(limits.connections).toBe(2);
    const wallNowMs = 1e12 + leases.clock.now();
    expect(Date.parse(withinLimitsBy ?? '')).toBe(Math.floor(wallNowMs + LEASE_LIFE_MS));
  });

  it('grants nothing new before it holds', async () => {
    const { leases } = await holding();
    lower(leases);
    const answer = await leases.ask('c', { op: 'acquire', timeToFirstByteMs: 10 });
    expect(answer).toMatchObject({ outcome: 'wait' });
  });

  it('holds after one lease lifetime, however the holders renew', async () => {
    const { leases, grants } = await holding();
    lower(leases);
    const held = new Map(grants.map((grant, at) => [at === 0 ? 'a' : 'b', grant]));
    const endMs = leases.clock.now() + LEASE_LIFE_MS;
    for (let turn = 0; leases.clock.now() < endMs; turn += 1) {
      for (const [name, grant] of held) {
        const answer = await leases.ask(name, renewal(grant, PIECE_BYTES * turn));
        if (answer.outcome === 'granted') held.set(name, answer.grant);
        if (answer.outcome === 'gone') held.delete(name);
      }
      await leases.clock.advance(3_000);
    }
    const { connections, windowBytes } = leases.durableUsage();
    expect(connections).toBeLessThanOrEqual(LOWERED.maxConnections);
    expect(windowBytes).toBeLessThanOrEqual(LOWERED.maxBandwidthBytesPerSecond);
    expect(windowBytes).toBeGreaterThan(LOWERED.maxBandwidthBytesPerSecond / 2);
    expect(usageIn(leases).withinLimitsBy).toBeUndefined();
  });

  it('ends a stream that does not fit any more', async () => {
    const { leases, grants } = await holding(false);
    lower(leases, { ...LOWERED, maxBandwidthBytesPerSecond: 3 * MIB });
    const answer = await leases.ask('a', renewal(grants[0] as LeaseGrant, MIB));
    expect(answer).toMatchObject({ outcome: 'wait', reason: 'BandwidthInUse' });
    await leases.clock.advance(LEASE_LIFE_MS + 1);
    expect(leases.durableUsage().rateBytesPerSecond).toBe(0);
  });

  it('counts the connections of a holder that was lost until closeAfter, and says until when', async () => {
    const { leases } = await holding();
    await leases.clock.advance(LEASE_LIFE_MS + 1);
    lower(leases, { ...LOWERED, maxConnections: 1 });
    const wallNowMs = 1e12 + leases.clock.now();
    const expected = Math.floor(wallNowMs + LEASE_LIFE_MS + 20_000);
    expect(Date.parse(usageIn(leases).withinLimitsBy ?? '')).toBe(expected);
    await leases.clock.advance(21_000);
    expect(usageIn(leases).withinLimitsBy).toBeUndefined();
  });
});

describe('who is held back', () => {
  it('is nobody while nobody asks', async () => {
    const leases = await TestLeases.leading();
    expect(usageIn(leases).heldBack).toEqual([]);
  });

  it('is the distribution whose holders get less than they want, with those that wait', async () => {
    const { leases } = await holding();
    leases.service.setDistribution(aLeasedDistribution({ uid: 'z' }));
    for (const name of ['c', 'd', 'e']) {
      await leases.ask(name, { op: 'acquire', uid: 'z', timeToFirstByteMs: 10 });
    }
    const { heldBack } = usageIn(leases);
    expect(heldBack.map(({ uid }) => uid)).toEqual(['z', 'a']);
    expect(heldBack[0]).toMatchObject({ reason: 'BandwidthInUse', rateBytesPerSecond: 0 });
    expect(heldBack[0]?.waiting).toBe(3);
    expect(heldBack[1]?.rateBytesPerSecond).toBeGreaterThan(MIB);
    expect(leases.service.waiting()).toEqual({ pull: 4, topUp: 0 });
  });

  it('is told apart when the traffic of the period is used up, since when and until when', async () => {
    const leases = await TestLeases.leading();
    lower(leases, { ...LIMITS, maxTraffic: { bytes: MIB, periodSeconds: 3600 } });
    const grant = await leases.acquire('a');
    await leases.ask('a', ended(grant, grant.maxBytes));
    const answer = await leases.ask('a', { op: 'acquire', timeToFirstByteMs: 10 });
    expect(answer).toMatchObject({ outcome: 'wait', reason: 'TrafficExhausted' });
    const usage = usageIn(leases);
    expect(usage.heldBack).toMatchObject([{ uid: 'a', reason: 'TrafficExhausted', waiting: 1 }]);
    expect(usage.exhaustedAt).toBe(new Date(1e12 + leases.clock.now()).toISOString());
    const endMs = Date.parse(usage.periodEnd ?? '');
    expect(endMs - Date.parse(usage.periodStart ?? '')).toBe(3_660_000);
    await leases.clock.advance(endMs - 1e12 - leases.clock.now() + 1);
    await settle();
    expect(usageIn(leases).exhaustedAt).toBeUndefined();
    expect((await leases.ask('a', { op: 'acquire', timeToFirstByteMs: 10 })).outcome).toBe(
      'granted',
    );
  });
});

describe('limits by a schedule', () => {
  /** In UTC; the clock of the tests begins at 2001-09-09 01:46:40. */
  const byDay = anOriginPolicy(LIMITS, {
    schedule: [
      {
        days: [0, 1, 2, 3, 4, 5, 6],
        from: 2 * 60,
        to: 3 * 60,
        timeZone: 'UTC',
        limits: { maxConnections: 1, maxBandwidthBytesPerSecond: 2 * MIB },
      },
    ],
  });
  const atMs = (iso: string) => Date.parse(iso) - 1e12;

  it('are low before their time comes, for as long as what is leased may last', async () => {
    const leases = await TestLeases.leading();
    leases.service.setOrigins([byDay]);
    expect(usageIn(leases).limits.connections).toBe(4);
    expect(usageIn(leases).limitsChangeAt).toBe('2001-09-09T01:58:29.900Z');
    await leases.clock.advance(atMs('2001-09-09T01:58:20Z') - leases.clock.now());
    const grant = await leases.acquire('a', { wantConnections: 4 });
    expect(grant.connections).toBe(4);
    // It is called when the limit sinks, and says nothing.
    leases.asks.length = 0;
    await leases.clock.advance(11_000);
    expect(leases.asks).toContain('a');
    expect(usageIn(leases).limits.connections).toBe(1);
    await leases.clock.advance(atMs('2001-09-09T02:00:00Z') - leases.clock.now());
    expect(leases.durableUsage().connections).toBe(0);
  });

  it('are high again a minute after the end, and those that wait are called', async () => {
    const leases = await TestLeases.leading();
    leases.service.setOrigins([byDay]);
    await leases.clock.advance(atMs('2001-09-09T03:00:50Z') - leases.clock.now());
    expect((await leases.acquire('a', { wantConnections: 4 })).connections).toBe(1);
    await leases.ask('b', { op: 'acquire', timeToFirstByteMs: 10 });
    leases.asks.length = 0;
    await leases.clock.advance(11_000);
    expect(leases.asks).toContain('b');
    expect(usageIn(leases).limits.connections).toBe(4);
  });
});
