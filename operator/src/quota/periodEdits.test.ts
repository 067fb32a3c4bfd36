import { beforeEach, describe, expect, it } from 'vitest';
import { aLeasedDistribution, anOriginPolicy } from '../testing/leasing.ts';
import { ended, LIMITS, MIB, TestLeases } from '../testing/testLeases.ts';

const HOUR_MS = 3_600_000;

let leases: TestLeases;

/** The fake wall clock begins at 01:46:40 of a day. */
beforeEach(async () => {
  leases = await TestLeases.leading();
  leases.service.setDistribution(aLeasedDistribution({ uid: 'big', pieceCount: 1_000 }));
});

function setPeriod(hours: number): void {
  const maxTraffic = { bytes: LIMITS.maxTraffic.bytes, periodSeconds: hours * 3600 };
  leases.service.setOrigins([anOriginPolicy({ ...LIMITS, maxTraffic })]);
}

async function take(bytes: number): Promise<void> {
  await leases.ask('one', ended(await leases.acquire('one', { uid: 'big' }), bytes));
}

function usage() {
  return leases.service.usage('cdn');
}

describe('a period of traffic that gets another length', () => {
  it('counts what was taken in earlier periods, when it is longer', async () => {
    await take(10 * MIB);
    await leases.clock.advance(HOUR_MS);
    await take(5 * MIB);
    expect(usage()?.chargedBytes).toBe(5 * MIB);
    setPeriod(24);
    expect(usage()).toMatchObject({
      chargedBytes: 15 * MIB,
      periodStart: '2001-09-09T00:00:00.000Z',
      periodEnd: '2001-09-10T00:01:00.000Z',
    });
    // Nothing is forgotten where it was short before: what counts is known to the next leader, too.
    leases.service = leases.newService(LIMITS);
    await leases.lead(2);
    setPeriod(24);
    expect(usage()?.chargedBytes).toBe(15 * MIB);
    await leases.clock.advance(22 * HOUR_MS);
    expect(usage()).toMatchObject({
      chargedBytes: 0,
      periodStart: '2001-09-10T00:00:00.000Z',
      periodEnd: '2001-09-11T00:01:00.000Z',
    });
  });

  it('counts what was taken since it began, when it is shorter', async () => {
    setPeriod(24);
    await take(10 * MIB);
    // 02:26:40.
    await leases.clock.advance(40 * 60_000);
    await take(5 * MIB);
    // 02:56:40: more than the last minutes count.
    await leases.clock.advance(30 * 60_000);
    setPeriod(1);
    expect(usage()).toMatchObject({ periodStart: '2001-09-09T02:00:00.000Z' });
    // The hour before is in it for its last minute: all of it counts.
    expect(usage()?.chargedBytes).toBe(15 * MIB);
    setPeriod(2);
    expect(usage()).toMatchObject({ periodEnd: '2001-09-09T04:01:00.000Z' });
    await leases.clock.advance(2 * HOUR_MS);
    expect(usage()?.chargedBytes).toBe(0);
  });

  it('is written down once', async () => {
    await take(10 * MIB);
    setPeriod(24);
    usage();
    const { journal } = leases;
    await leases.clock.advance(1);
    const before = journal.of('cdn.example.com:80').length;
    usage();
    await leases.clock.advance(1);
    expect(journal.of('cdn.example.com:80')).toHaveLength(before);
  });
});
