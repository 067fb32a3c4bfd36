import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { aLeasedDistribution, PIECE_BYTES } from '../testing/leasing.ts';
import { ended, MIB, PULLER, renewal, TestLeases } from '../testing/testLeases.ts';

let leases: TestLeases;

beforeEach(async () => {
  leases = await TestLeases.leading();
});

describe('leases', () => {
  it('go on with others when a puller is revoked, from what relays hold then', async () => {
    const first = await leases.acquire('one');
    const [{ first: lowest = -1 } = {}] = first.extents;
    const all = Buffer.alloc(8, 255);
    leases.service.setHeld('a', 1, 'two', all);
    leases.service.setDistribution(aLeasedDistribution({ revokedPullers: [PULLER] }));
    // It has asked the origin for something: its lease counts until it ends.
    expect(leases.durableUsage().connections).toBe(first.connections);
    expect(await leases.ask('one', renewal(first, MIB))).toEqual({ outcome: 'gone' });
    expect(await leases.ask('one', { op: 'acquire' })).toMatchObject({ reason: 'NotAllowed' });
    const pullerKey = generateFeedKeyPair().publicKey.toString('base64');
    expect(await leases.ask('two', { op: 'acquire', pullerKey })).toMatchObject({
      reason: 'NotReady',
    });
    await leases.clock.advance(60_000);
    const second = await leases.acquire('two', { pullerKey });
    expect(second.extents[0]?.first).toBe(lowest);
    // Held, that is what was reported since.
    leases.service.setHeld('a', 1, 'three', Buffer.from([127, 255, 255, 255, 255, 255, 255, 255]));
    await leases.ask('two', ended(second, MIB, [{ first: 0, count: 1 }]));
    expect((await leases.acquire('two', { pullerKey })).extents).toEqual([{ first: 0, count: 1 }]);
  });

  it('give every piece once when nobody fails, and what is unfinished again', async () => {
    const pulled: number[] = [];
    let fails = true;
    for (let turn = 0; turn < 100; turn += 1) {
      const answer = await leases.ask('one', { op: 'acquire' });
      if (answer.outcome !== 'granted') break;
      const { extents } = answer.grant;
      const pieces = extents.flatMap(({ first, count }) =>
        Array.from({ length: count }, (_, at) => first + at),
      );
      const left = fails ? pieces.splice(-2) : [];
      pulled.push(...pieces);
      const unfinished = left.map((first) => ({ first, count: 1 }));
      await leases.ask('one', ended(answer.grant, pieces.length * PIECE_BYTES, unfinished));
      fails = !fails;
    }
    expect(pulled.sort((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, at) => at));
    expect(leases.service.originBytes('a')).toBe(64 * PIECE_BYTES);
    expect(await leases.ask('one', { op: 'acquire' })).toMatchObject({ reason: 'NothingToPull' });
  });

  it('give their pieces to others when they end, long before their connections are free', async () => {
    const grant = await leases.acquire('one', { wantConnections: 1, wantRateBytesPerSecond: MIB });
    await leases.clock.advance(grant.ttlMs + 200);
    const next = await leases.acquire('two', { wantConnections: 1, wantRateBytesPerSecond: MIB });
    expect(next.extents[0]?.first).toBe(0);
    expect(leases.durableUsage().connections).toBe(2);
  });
});
