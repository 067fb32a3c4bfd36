import { beforeEach, describe, expect, it } from 'vitest';
import { aLeasedDistribution, aLeaseService, anOriginPolicy } from '../testing/leasing.ts';
import { ended, LIMITS, MIB, relay, renewal, TestLeases } from '../testing/testLeases.ts';

let leases: TestLeases;

beforeEach(async () => {
  leases = await TestLeases.leading();
});

describe('leases', () => {
  it('may have all of the limit right after the operator has asked what the file is', async () => {
    const url = 'http://cdn.example.com/file';
    const probe = leases.service.charge(
      { url, uid: 'a', maxBytes: 4 * MIB },
      new AbortController().signal,
      async () => ({ result: undefined, usedBytes: 700 }),
    );
    await leases.clock.advance(1);
    await probe;
    const { rateBytesPerSecond } = await leases.acquire('one');
    // What is left by slack for 10 ms and a quantum.
    expect(rateBytesPerSecond).toBeGreaterThan(0.94 * LIMITS.maxBandwidthBytesPerSecond);
  });

  it('end with their time; connections are free when their sockets surely are', async () => {
    const lapsed: string[] = [];
    leases.service.onLapsed((holder) => lapsed.push(holder));
    const grant = await leases.acquire('one');
    await leases.clock.advance(grant.ttlMs - 100);
    expect(lapsed).toEqual([]);
    await leases.clock.advance(300);
    expect(lapsed).toEqual(['one']);
    expect(leases.durableUsage()).toMatchObject({
      rateBytesPerSecond: 0,
      connections: grant.connections,
    });
    expect(await leases.ask('one', renewal(grant, 0))).toEqual({ outcome: 'gone' });
    // The origin's clock may be slow, and ours fast.
    await leases.clock.advance(20_000 + 1_000);
    expect(leases.durableUsage().connections).toBe(0);
    // Unknown means spent.
    expect(leases.durableUsage().trafficBytes).toBe(grant.maxBytes);
  });

  it('of one who was lost go to those who pull, who are called for it', async () => {
    const first = await leases.acquire('one');
    await leases.ask('two', { op: 'acquire' });
    const smaller = await leases.ask('one', renewal(first, 0));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    await leases.ask('one', renewal(smaller.grant, 0));
    const lost = await leases.acquire('two');
    // What came back in between has been told of by then.
    await leases.clock.advance(1_200);
    leases.asks.length = 0;
    leases.service.holderEnded('two');
    await leases.clock.advance(150);
    expect(leases.asks, 'at once: its rate').toEqual(['one']);
    await leases.clock.advance(1_000);
    expect(leases.asks, 'its connections, then what slack a second ago was').toHaveLength(3);
    const more = await leases.ask('one', renewal(smaller.grant, MIB));
    if (more.outcome !== 'granted') throw new Error(more.outcome);
    expect(more.grant.rateBytesPerSecond).toBeGreaterThan(1.8 * lost.rateBytesPerSecond);
  });

  it('of many who were lost at once are told of together, and to nobody at another origin', async () => {
    leases.service.setOrigins([
      anOriginPolicy(LIMITS),
      anOriginPolicy(LIMITS, { name: 'other', hosts: ['other.example.com'] }),
    ]);
    const url = 'https://other.example.com/file';
    leases.service.setDistribution(aLeasedDistribution({ uid: 'm', url }));
    await leases.clock.advance(1);
    await leases.acquire('elsewhere', { uid: 'm' });
    const first = await leases.acquire('one', { wantConnections: 1, wantRateBytesPerSecond: MIB });
    for (const holder of ['two', 'three']) {
      await leases.acquire(holder, { wantConnections: 1, wantRateBytesPerSecond: MIB });
    }
    // It would have more, which the others have.
    await leases.ask('one', { ...renewal(first, 0), wantRateBytesPerSecond: 100 * MIB });
    // What came back in between has been told of by then.
    await leases.clock.advance(1_200);
    leases.asks.length = 0;
    for (const holder of ['two', 'three']) leases.service.holderEnded(holder);
    await leases.clock.advance(150);
    expect(leases.asks).toEqual(['one']);
    await leases.clock.advance(1_350);
    expect(leases.asks).toEqual(['one', 'one', 'one']);
    expect(first.connections).toBe(1);
  });

  it('are refused, and told why, where no Origin covers the host and one has to', async () => {
    const { journal: store, clock } = leases;
    leases.service = aLeaseService({ store, clock }, { requireOrigin: true });
    leases.service.setOrigins([anOriginPolicy(LIMITS, { hosts: ['elsewhere.example.com'] })]);
    leases.service.setDistribution(aLeasedDistribution());
    await leases.lead(2);
    await expect(leases.ask('one', { op: 'acquire' })).rejects.toMatchObject({
      code: 'OriginRequired',
      message: expect.stringMatching(/^no Origin covers .+ only what one covers$/),
    });
    leases.service.setOrigins([anOriginPolicy(LIMITS)]);
    await leases.clock.advance(2_000);
    expect(await leases.ask('one', { op: 'acquire' })).toMatchObject({ outcome: 'granted' });
  });

  it('are under the defaults where their Origin sets no limit', async () => {
    leases.service = leases.newService({});
    leases.service.setDistribution(aLeasedDistribution());
    await leases.lead(2);
    await leases.clock.advance(1_100);
    const grant = await leases.acquire('one');
    expect(grant.connections).toBe(2);
    expect(grant.rateBytesPerSecond).toBeLessThan(MIB);
  });

  it('stay counted when another Origin covers the host, and so does what was taken', async () => {
    const taken = await leases.acquire('one');
    await leases.ask('one', ended(taken, 3 * MIB));
    const open = await leases.acquire('one');
    leases.service.setOrigins([
      anOriginPolicy(LIMITS, { name: 'another', hosts: ['cdn.example.com:80'] }),
    ]);
    expect(leases.service.usage('cdn')).toBeUndefined();
    expect(leases.service.usage('another')).toMatchObject({
      connections: open.connections,
      trafficBytes: 3 * MIB,
    });
    expect(await leases.ask('two', { op: 'acquire' })).toMatchObject({
      reason: 'ConnectionsInUse',
    });
  });

  it('share the limits of an Origin over all its hosts', async () => {
    leases.service.setOrigins([
      anOriginPolicy(LIMITS, { name: 'both', hosts: ['cdn.example.com', 'mirror.example.com'] }),
    ]);
    const url = 'https://mirror.example.com./file';
    leases.service.setDistribution(aLeasedDistribution({ uid: 'm', url }));
    await leases.clock.advance(1);
    const first = await leases.acquire('one');
    expect(await leases.ask('two', { op: 'acquire', uid: 'm' })).toMatchObject({ outcome: 'wait' });
    const smaller = await leases.ask('one', renewal(first, MIB));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    await leases.ask('one', renewal(smaller.grant, MIB));
    const second = await leases.acquire('two', { uid: 'm' });
    const sum = smaller.grant.rateBytesPerSecond + second.rateBytesPerSecond;
    expect(sum).toBeLessThan(LIMITS.maxBandwidthBytesPerSecond);
    expect(smaller.grant.connections + second.connections).toBe(LIMITS.maxConnections);
    expect(leases.journal.of('mirror.example.com:443')).not.toHaveLength(0);
  });

  it('return a second after the kubelet has reported the end of the container, rates at once', async () => {
    await leases.acquire('one');
    leases.service.holderEnded('one');
    await leases.clock.advance(1);
    expect(leases.durableUsage()).toMatchObject({ rateBytesPerSecond: 0 });
    await leases.clock.advance(998);
    expect(leases.durableUsage().connections).toBeGreaterThan(0);
    expect(leases.durableUsage().slackBytes).toBeGreaterThan(0);
    await leases.clock.advance(2);
    expect(leases.durableUsage().connections).toBe(0);
  });

  it('make room for a probe, which is charged what it took', async () => {
    const grant = await leases.acquire('one');
    const probe = leases.service.charge(
      { url: 'http://cdn.example.com/other', uid: 'b', maxBytes: 4 * MIB },
      new AbortController().signal,
      async () => ({ result: leases.durableUsage().connections, usedBytes: 500 }),
    );
    await leases.clock.advance(100);
    const smaller = await leases.ask('one', renewal(grant, MIB));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    await leases.ask('one', renewal(smaller.grant, MIB));
    // A second of the origin may have begun with all that was leased before.
    await leases.clock.advance(1_300);
    expect(await probe).toBeGreaterThan(1);
    expect(leases.service.originBytes('b')).toBe(500);
  });

  it('do not give slack that came back to a rate before a second has gone by', async () => {
    const slow = await leases.acquire('slow', { timeToFirstByteMs: 400, wantConnections: 2 });
    await leases.ask('slow', ended(slow, 0, slow.extents));
    const limit = LIMITS.maxBandwidthBytesPerSecond;
    const early = await leases.acquire('fast');
    expect(early.rateBytesPerSecond + slow.slackBytes).toBeLessThanOrEqual(limit);
    await leases.clock.advance(1_100);
    const later = await leases.ask('fast', renewal(early, 0));
    if (later.outcome !== 'granted') throw new Error(later.outcome);
    expect(later.grant.rateBytesPerSecond).toBeGreaterThan(1.2 * early.rateBytesPerSecond);
  });

  it('are known to the next leader, whose fence ends the one before', async () => {
    const grant = await leases.acquire('one');
    const former = leases.service;
    const formerLost = leases.lost;
    leases.service = leases.newService();
    leases.service.setDistribution(aLeasedDistribution());
    await leases.lead(1);
    expect(leases.service.usage('cdn')?.connections).toBe(grant.connections);
    const renewed = await leases.ask('one', renewal(grant, 0));
    expect(renewed).toMatchObject({ outcome: 'granted', grant: { leaseId: grant.leaseId } });
    const refused = former.answer(relay('one'), {
      ...renewal(grant, 0),
      incarnation: 'one-----',
      sequence: 99,
      wantRateBytesPerSecond: MIB,
    });
    await expect(refused).rejects.toMatchObject({ code: 'NotLeading' });
    expect(formerLost).toHaveLength(1);
  });
});
