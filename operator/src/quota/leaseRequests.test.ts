import type { LeaseGrant } from '@sluice/protocol/leaseMessages.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { settle } from '../testing/fakeClock.ts';
import { aLeasedDistribution, aLeaseService, PIECE_BYTES } from '../testing/leasing.ts';
import {
  ended,
  KEY,
  LIMITS,
  MIB,
  PULLER,
  relay,
  renewal,
  TestLeases,
} from '../testing/testLeases.ts';

let leases: TestLeases;

beforeEach(async () => {
  leases = await TestLeases.leading();
});

describe('leases', () => {
  it('are in the journal before they are told, with pieces in file order and a certificate', async () => {
    const grant = await leases.acquire('one');
    expect(leases.journal.of(KEY).at(-1)?.entries[0]).toMatchObject({
      kind: 'grant',
      leaseId: grant.leaseId,
    });
    expect(grant.extents[0]?.first).toBe(0);
    expect(grant.certificate?.extents).toEqual(grant.extents);
    // About a second of the rate at once.
    const granted = grant.extents.reduce((sum, { count }) => sum + count, 0) * PIECE_BYTES;
    expect(granted / grant.rateBytesPerSecond).toBeGreaterThan(0.5);
    expect(granted / grant.rateBytesPerSecond).toBeLessThan(1.5);
  });

  it('use 95 % of the bandwidth and no more, in any second', async () => {
    const { rateBytesPerSecond, slackBytes } = await leases.acquire('one');
    expect(rateBytesPerSecond + slackBytes).toBeLessThanOrEqual(LIMITS.maxBandwidthBytesPerSecond);
    expect(rateBytesPerSecond).toBeGreaterThan(0.95 * LIMITS.maxBandwidthBytesPerSecond);
  });

  it('come down when another wants its share, who gets it when that is acknowledged', async () => {
    const first = await leases.acquire('one');
    expect(await leases.ask('two', { op: 'acquire' })).toMatchObject({ outcome: 'wait' });
    const smaller = await leases.ask('one', renewal(first, MIB));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    expect(smaller.grant.rateBytesPerSecond).toBeLessThan(0.55 * first.rateBytesPerSecond);
    expect(smaller.grant.connections).toBe(2);
    expect(await leases.ask('two', { op: 'acquire' })).toMatchObject({ outcome: 'wait' });
    leases.asks.length = 0;
    await leases.ask('one', renewal(smaller.grant, 2 * MIB));
    expect(leases.asks).toContain('two');
    const second = await leases.acquire('two');
    expect(second.rateBytesPerSecond).toBeGreaterThan(0.4 * first.rateBytesPerSecond);
    expect(second.connections).toBe(2);
    const pieces = [first, smaller.grant, second].map(({ extents }) => extents);
    expect(pieces[2]?.[0]?.first).toBeGreaterThan(pieces[1]?.at(-1)?.first ?? 0);
  });

  it('share the rate by the priority of their distributions, each as one more than it', async () => {
    leases.service.setDistribution(aLeasedDistribution({ uid: 'low', priority: 1 }));
    leases.service.setDistribution(aLeasedDistribution({ uid: 'high', priority: 5 }));
    const renew = async (holder: string, before: LeaseGrant) => {
      const answer = await leases.ask(holder, renewal(before, 0));
      if (answer.outcome !== 'granted') throw new Error(answer.outcome);
      return answer.grant;
    };
    const whole = await leases.acquire('one', { uid: 'low' });
    await leases.ask('two', { op: 'acquire', uid: 'high' });
    const lowered = await renew('one', whole);
    const low = await renew('one', lowered);
    const high = await leases.acquire('two', { uid: 'high' });
    expect(high.rateBytesPerSecond / low.rateBytesPerSecond).toBeCloseTo(6 / 2, 1);
    expect(low.rateBytesPerSecond + high.rateBytesPerSecond).toBeGreaterThan(
      0.95 * whole.rateBytesPerSecond,
    );
    expect([low.connections, high.connections]).toEqual([1, 3]);
  });

  it('give what their holder does not want any more to the other within one renewal', async () => {
    const first = await leases.acquire('one');
    const again = async (holder: string, before: LeaseGrant, change = {}) => {
      const answer = await leases.ask(holder, { ...renewal(before, 0), ...change });
      if (answer.outcome !== 'granted') throw new Error(answer.outcome);
      return answer.grant;
    };
    await leases.ask('two', { op: 'acquire' });
    let one = await again('one', first);
    one = await again('one', one);
    let two = await leases.acquire('two');
    await leases.clock.advance(1_200);
    leases.asks.length = 0;
    const little = { wantRateBytesPerSecond: 0.1 * two.rateBytesPerSecond };
    two = await again('two', two, little);
    two = await again('two', two, little);
    await leases.clock.advance(1_200);
    expect(leases.asks).toContain('one');
    one = await again('one', one);
    const sum = one.rateBytesPerSecond + two.rateBytesPerSecond;
    expect(two.rateBytesPerSecond).toBeLessThanOrEqual(little.wantRateBytesPerSecond);
    expect(sum).toBeGreaterThan(0.98 * first.rateBytesPerSecond);
  });

  it('make room for one more, however little the others have too much of', async () => {
    const limits = { maxConnections: 200, maxBandwidthBytesPerSecond: 100 * MIB };
    leases.service = leases.newService(limits as typeof LIMITS);
    leases.service.setDistribution(aLeasedDistribution({ pieceCount: 8_192 }));
    await leases.lead(2);
    await leases.clock.advance(2_000);
    const few = { wantConnections: 1, wantRateBytesPerSecond: 100 * MIB };
    const grants = new Map<string, LeaseGrant>();
    const renewAll = async (holders: Iterable<string>) => {
      for (const holder of holders) {
        const before = grants.get(holder);
        if (before === undefined) continue;
        const answer = await leases.ask(holder, { ...renewal(before, 0), ...few });
        if (answer.outcome === 'granted') grants.set(holder, answer.grant);
      }
    };
    const share = Math.floor((0.8 * 100 * MIB) / 60);
    for (let at = 0; at < 60; at += 1) {
      const holder = `holder-${at}`;
      grants.set(holder, await leases.acquire(holder, { ...few, wantRateBytesPerSecond: share }));
    }
    // They want more than there is, and come to have a sixtieth each.
    for (let round = 0; round < 4; round += 1) {
      await leases.clock.advance(1_200);
      await renewAll(grants.keys());
    }
    const rates = [...grants.values()].map(({ rateBytesPerSecond }) => rateBytesPerSecond);
    expect(Math.max(...rates) / Math.min(...rates)).toBeLessThan(1.02);
    let last = await leases.ask('last', { op: 'acquire', ...few });
    expect(last).toMatchObject({ outcome: 'wait', reason: 'BandwidthInUse' });
    for (let round = 0; round < 6 && last.outcome !== 'granted'; round += 1) {
      await leases.clock.advance(500);
      const asked = new Set(leases.asks.splice(0));
      await renewAll(asked);
      await renewAll(asked);
      last = await leases.ask('last', { op: 'acquire', ...few });
    }
    if (last.outcome !== 'granted') throw new Error(last.outcome);
    expect(last.grant.rateBytesPerSecond).toBeGreaterThan(0.4 * Math.min(...rates));
  });

  it('leave to others what was in an answer that was lost', async () => {
    const heard = leases.nextSequence();
    const grant = await leases.acquire('one', { sequence: heard });
    const lost = await leases.ask('one', { ...renewal(grant, MIB, []), heard });
    if (lost.outcome !== 'granted') throw new Error(lost.outcome);
    expect(lost.grant.extents[0]?.first).toBe(grant.extents[0]?.count);
    await leases.ask('one', { ...ended(grant, MIB), heard });
    await leases.clock.advance(1_100);
    expect((await leases.acquire('two')).extents[0]).toEqual(lost.grant.extents[0]);
  });

  it('are not renewed by a request that comes late, after the one that took its place', async () => {
    const late = leases.nextSequence();
    const grant = await leases.acquire('one');
    await leases.ask('one', renewal(grant, MIB));
    const answer = await leases.ask('one', { ...renewal(grant, 0), sequence: late });
    expect(answer).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
  });

  it('name the pieces of an answer that was lost again', async () => {
    const heard = leases.nextSequence();
    const grant = await leases.acquire('one', { sequence: heard });
    const lost = await leases.ask('one', { ...renewal(grant, MIB, []), heard });
    const again = await leases.ask('one', { ...renewal(grant, MIB, []), heard });
    if (lost.outcome !== 'granted' || again.outcome !== 'granted') throw new Error('no grant');
    expect(again.grant.extents[0]?.first).toBe(lost.grant.extents[0]?.first);
  });

  it('keep their version while nothing of them becomes smaller: there is nothing to acknowledge', async () => {
    const first = await leases.acquire('one');
    const left = first.extents.map(({ first: from, count }) => ({
      first: from + 4,
      count: count - 4,
    }));
    const same = await leases.ask('one', renewal(first, 4 * PIECE_BYTES, left));
    if (same.outcome !== 'granted') throw new Error(same.outcome);
    expect(same.grant.version).toBe(first.version);
    expect(same.grant.maxBytes).toBeGreaterThan(first.maxBytes);
    await leases.ask('two', { op: 'acquire' });
    const smaller = await leases.ask('one', renewal(same.grant, 5 * PIECE_BYTES, left));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    expect(smaller.grant.version).toBe(first.version + 1);
    const acknowledged = await leases.ask('one', renewal(smaller.grant, 6 * PIECE_BYTES, left));
    expect(acknowledged).toMatchObject({ grant: { version: first.version + 1 } });
  });

  it('are one for the same request sent twice', async () => {
    const request = {
      op: 'acquire' as const,
      incarnation: 'same-run',
      sequence: 7,
      uid: 'a',
      epoch: 1,
      wantRateBytesPerSecond: MIB,
      wantConnections: 1,
      pullerKey: PULLER,
    };
    const answers = [
      leases.service.answer(relay('one'), request),
      leases.service.answer(relay('one'), request),
    ];
    await settle();
    expect(await answers[0]).toEqual(await answers[1]);
    expect(leases.durableUsage().connections).toBe(1);
  });

  it('are over when their holder asks for another: it has heard of none', async () => {
    const unheard = await leases.acquire('one');
    const grant = await leases.acquire('one');
    expect(grant.leaseId).not.toBe(unheard.leaseId);
    expect(grant.extents).toEqual(unheard.extents);
    expect(leases.durableUsage()).toMatchObject({
      connections: grant.connections,
      trafficBytes: unheard.maxBytes + grant.maxBytes,
    });
  });

  it('wait until the limits are known', async () => {
    leases.service = aLeaseService({ store: leases.journal, clock: leases.clock });
    leases.service.setDistribution(aLeasedDistribution());
    await leases.lead(2);
    expect(await leases.ask('one', { op: 'acquire' })).toMatchObject({ reason: 'NotReady' });
  });

  it('need no more slack for a newcomer than the origin is known to need', async () => {
    await leases.acquire('one', { wantRateBytesPerSecond: MIB, timeToFirstByteMs: 10 });
    const second = await leases.acquire('two', { timeToFirstByteMs: undefined });
    expect(second.slackBytes / second.rateBytesPerSecond).toBeCloseTo(0.042, 3);
  });

  it('stop at the limit of traffic', async () => {
    leases.service.setDistribution(aLeasedDistribution({ uid: 'big', pieceCount: 400 }));
    let used = 0;
    let answer = await leases.ask('one', { op: 'acquire', uid: 'big' });
    while (answer.outcome === 'granted') {
      const bytes = answer.grant.extents.reduce((sum, { count }) => sum + count * PIECE_BYTES, 0);
      used += bytes;
      await leases.ask('one', ended(answer.grant, bytes));
      answer = await leases.ask('one', { op: 'acquire', uid: 'big' });
    }
    expect(answer).toMatchObject({ outcome: 'wait', reason: 'TrafficExhausted' });
    expect(used).toBeLessThanOrEqual(LIMITS.maxTraffic.bytes);
    expect(used).toBeGreaterThan(0.9 * LIMITS.maxTraffic.bytes);
    await leases.clock.advance(3_600_000);
    expect(await leases.ask('one', { op: 'acquire', uid: 'big' })).toMatchObject({
      outcome: 'granted',
    });
  });

  it('give one stream and a reserve where the origin honours no ranges', async () => {
    leases.service.setDistribution(aLeasedDistribution({ uid: 'plain', ranges: false }));
    const grant = await leases.acquire('one', { uid: 'plain' });
    expect(grant).toMatchObject({ connections: 1, extents: [{ first: 0, count: 64 }] });
    expect(grant.slackBytes).toBeGreaterThanOrEqual(4 * MIB);
    expect(grant.rateBytesPerSecond + grant.slackBytes).toBeLessThanOrEqual(8 * MIB);
    expect(await leases.ask('two', { op: 'acquire', uid: 'plain' })).toMatchObject({
      reason: 'NothingToPull',
    });
  });

  it('are charged the highest that their holder says in any way, who is shown when he contradicts himself', async () => {
    const meters = { socketBytes: 3 * MIB, answeredBytes: 3 * MIB, pieceBytes: 2 * MIB };
    const grant = await leases.acquire('one');
    await leases.ask('one', { ...renewal(grant, 3 * MIB), meters });
    const usage = () => leases.service.usage('cdn');
    expect(usage()).toMatchObject({ trafficBytes: 3 * MIB, disagreements: [] });
    await leases.ask('one', { ...ended(grant, MIB), meters: { ...meters, socketBytes: 0 } });
    expect(leases.durableUsage().trafficBytes).toBe(3 * MIB);
    expect(usage()?.disagreements).toEqual([
      {
        holder: 'one',
        reason: 'UseUnderstated',
        reportedBytes: MIB,
        otherBytes: 3 * MIB,
        atMs: leases.clock.now(),
      },
    ]);
  });

  it('of one who was lost are charged what he has proven, where that is more than he was granted', async () => {
    const grant = await leases.acquire('one');
    const most = grant.maxBytes + MIB;
    const meters = { socketBytes: most, answeredBytes: most, pieceBytes: 0 };
    await leases.ask('one', { ...renewal(grant, most), meters });
    const shown = leases.service.usage('cdn')?.disagreements;
    expect(shown).toMatchObject([{ reason: 'UseOverGrant', otherBytes: grant.maxBytes }]);
    leases.service.holderEnded('one');
    await leases.clock.advance(1_001);
    expect(leases.durableUsage()).toMatchObject({ connections: 0 });
    expect(leases.durableUsage().trafficBytes).toBeGreaterThanOrEqual(most);
  });
});

describe('connections that ended without a word of the origin', () => {
  const unproven = { connections: 1, slackBytes: 5_000 };
  /** Of the policy, and what a slow clock of the origin and a fast one of ours add. */
  const CLOSED_MS = 20_000 + 1_000;

  it('count after their lease is settled, until the origin must have closed them', async () => {
    const grant = await leases.acquire('one');
    await leases.ask('one', { ...ended(grant, 3 * MIB), unproven });
    expect(leases.durableUsage()).toEqual({
      connections: 1,
      rateBytesPerSecond: 0,
      slackBytes: 5_000,
      windowBytes: 5_000,
      trafficBytes: 3 * MIB,
    });
    await leases.clock.advance(CLOSED_MS - 1_500);
    expect(leases.durableUsage().connections).toBe(1);
    await leases.clock.advance(1_500);
    expect(leases.durableUsage()).toMatchObject({ connections: 0, trafficBytes: 3 * MIB });
  });

  it('leave the rest of the limit to others at once, and whoever waits is called when they are closed', async () => {
    const grant = await leases.acquire('one');
    await leases.ask('one', { ...ended(grant, 0), unproven });
    const next = await leases.acquire('one');
    expect(next.connections).toBe(LIMITS.maxConnections - 1);
    await leases.ask('two', { op: 'acquire' });
    leases.asks.length = 0;
    await leases.ask('one', renewal(next, 0));
    await leases.clock.advance(CLOSED_MS);
    expect(leases.asks).toContain('two');
  });

  it('are not free for the next request of their holder, nor for the end of its container', async () => {
    const grant = await leases.acquire('one');
    await leases.ask('one', { ...ended(grant, 0), unproven });
    const next = await leases.acquire('one');
    await leases.ask('one', ended(next, 0));
    leases.service.holderEnded('one');
    await leases.clock.advance(2_000);
    expect(leases.durableUsage().connections).toBe(1);
  });

  it('are told once, and remembered by the next leader', async () => {
    const grant = await leases.acquire('one');
    const end = { ...ended(grant, MIB), unproven };
    await leases.ask('one', end);
    leases.service.stepDown();
    leases.service = leases.newService();
    leases.service.setDistribution(aLeasedDistribution());
    await leases.lead(2);
    expect(await leases.ask('one', end)).toEqual({ outcome: 'settled' });
    expect(leases.durableUsage()).toMatchObject({ connections: 1, trafficBytes: MIB });
    await leases.clock.advance(CLOSED_MS);
    expect(leases.durableUsage()).toMatchObject({ connections: 0, trafficBytes: MIB });
  });
});

describe('pieces that somebody has without a pull', () => {
  const kept = [{ first: 0, count: 60 }];
  const donated = { kept, signed: kept, signers: new Set(['one']) };
  const certify = { op: 'certify', uid: 'a', epoch: 1 } as const;

  it("are nobody's to pull, and are signed by who has them, without anything of the origin", async () => {
    leases.service.setDistribution(aLeasedDistribution({ donated }));
    const before = leases.journal.of(KEY).length;
    const answer = await leases.ask('one', certify);
    if (answer.outcome !== 'certified') throw new Error(answer.outcome);
    expect(answer.certificates).toMatchObject([{ pullerKey: PULLER, extents: kept }]);
    expect(leases.journal.of(KEY)).toHaveLength(before);
    const { extents } = await leases.acquire('two');
    expect(extents[0]?.first).toBe(60);
  });

  it('are signed also while nothing may be pulled', async () => {
    leases.service.setDistribution(aLeasedDistribution({ donated, suspend: true }));
    expect(await leases.ask('one', certify)).toMatchObject({ outcome: 'certified' });
  });

  it('are signed in parts when they are many runs', async () => {
    const signed = Array.from({ length: 300 }, (_, at) => ({ first: 2 * at, count: 1 }));
    const many = { kept: signed, signed, signers: new Set(['one']) };
    leases.service.setDistribution(aLeasedDistribution({ pieceCount: 600, donated: many }));
    const answer = await leases.ask('one', certify);
    if (answer.outcome !== 'certified') throw new Error(answer.outcome);
    expect(answer.certificates.map(({ extents }) => extents.length)).toEqual([256, 44]);
    expect(answer.certificates.flatMap(({ extents }) => extents)).toEqual(signed);
  });

  it.each<[string, string, Record<string, unknown>, object]>([
    ['another process', 'two', {}, {}],
    ['another epoch', 'one', { epoch: 2 }, {}],
    ['a key that was revoked', 'one', {}, { revokedPullers: [PULLER] }],
    ['nothing that it has', 'one', {}, { donated: undefined }],
  ])('are not signed for %s', async (_case, holder, request, change) => {
    leases.service.setDistribution(aLeasedDistribution({ donated, ...change }));
    const answer = await leases.ask(holder, { ...certify, ...request });
    expect(answer).toMatchObject({ outcome: 'wait' });
  });

  it('are pulled when nobody gives them any more', async () => {
    leases.service.setDistribution(aLeasedDistribution({ donated }));
    leases.service.setDistribution(aLeasedDistribution());
    const { extents } = await leases.acquire('two');
    expect(extents[0]?.first).toBe(0);
  });
});
