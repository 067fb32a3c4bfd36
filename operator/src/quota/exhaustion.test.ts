import { beforeEach, describe, expect, it } from 'vitest';
import { aLeasedDistribution, anOriginPolicy } from '../testing/leasing.ts';
import { ended, LIMITS, TestLeases } from '../testing/testLeases.ts';

/** Of the fake wall clock: periods are an hour. */
const UNTIL_MS = 1_000_000_800_000;

let leases: TestLeases;

beforeEach(async () => {
  leases = await TestLeases.leading();
  leases.service.setDistribution(aLeasedDistribution({ uid: 'big', pieceCount: 400 }));
});

async function pullAll(): Promise<void> {
  for (;;) {
    const answer = await leases.ask('one', { op: 'acquire', uid: 'big' });
    if (answer.outcome !== 'granted') return;
    await leases.ask('one', ended(answer.grant, answer.grant.maxBytes));
  }
}

describe('a period whose traffic is used up', () => {
  it('is the trouble of who pulls, until when it ends', async () => {
    expect(leases.service.troubleOf('big', 1)).toBeUndefined();
    await pullAll();
    expect(leases.service.troubleOf('big', 1)).toEqual({
      code: 'QuotaExhausted',
      untilMs: UNTIL_MS,
      message: expect.stringMatching(/cdn\.example\.com.* used up until 2001-09-09T02:00:00Z$/),
    });
    expect(leases.service.troubleOf('a', 1), 'who did not ask').toBeUndefined();
  });

  it('is no trouble any more when the limit is lifted, or the next puller has a lease', async () => {
    await pullAll();
    leases.service.setOrigins([anOriginPolicy({ ...LIMITS, maxTraffic: undefined } as never)]);
    expect(leases.service.troubleOf('big', 1)).toBeUndefined();
    leases.service.setOrigins([anOriginPolicy(LIMITS)]);
    expect(leases.service.troubleOf('big', 1)).toBeDefined();
    await leases.clock.advance(3_600_000);
    await leases.acquire('one', { uid: 'big' });
    expect(leases.service.troubleOf('big', 1)).toBeUndefined();
  });

  it('is told to a probe as what it is', async () => {
    await pullAll();
    const url = 'http://cdn.example.com/other';
    const probe = leases.service.charge(
      { url, uid: 'c', maxBytes: 100_000_000 },
      new AbortController().signal,
      async () => ({ result: 0, usedBytes: 0 }),
    );
    await expect(probe).rejects.toMatchObject({ code: 'TrafficExhausted', untilMs: UNTIL_MS });
  });

  it('is not all that can go wrong: a failed puller says what the origin did', async () => {
    const grant = await leases.acquire('one', { uid: 'big' });
    const failure = {
      reason: 'SourceForbidden',
      message: 'the origin answered 403',
      httpStatus: 403,
    };
    await leases.ask('one', { ...ended(grant, 0, grant.extents), failure });
    expect(leases.service.troubleOf('big', 1)).toEqual({
      code: 'HttpStatus',
      message: 'the origin answered 403',
      httpStatus: 403,
    });
    const again = await leases.acquire('one', { uid: 'big' });
    const refused = { reason: 'BadContentRange', message: 'another range' };
    await leases.ask('one', { ...ended(again, 0, again.extents), failure: refused });
    expect(leases.service.troubleOf('big', 1)).toMatchObject({ code: 'BadAnswer' });
  });
});
