import type { Extent, LeaseAnswer } from '@sluice/protocol/leaseMessages.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { settle } from '../testing/fakeClock.ts';
import { aLeasedDistribution, anOriginPolicy } from '../testing/leasing.ts';
import { ended, LIMITS, PULLER, relay, renewal, TestLeases } from '../testing/testLeases.ts';
import type { LeaseService } from './leaseService.ts';

const HOSTS = ['cdn.example.com', 'other.example.com'];
/** The next leader grants so soon after it has taken over. */
const GRANTS_AFTER_MS = 2_000;

let leases: TestLeases;
let former: LeaseService;
let formerLost: Error[];

beforeEach(async () => {
  leases = new TestLeases();
  former = leases.service;
  formerLost = leases.lost;
  knowBoth(former);
  await leases.lead(1);
});

function knowBoth(service: LeaseService): void {
  service.setOrigins([anOriginPolicy(LIMITS, { hosts: HOSTS })]);
  service.setDistribution(aLeasedDistribution());
}

/** At a host that nobody was asked for before. */
function newHost(service: LeaseService): void {
  service.setDistribution(aLeasedDistribution({ uid: 'b', url: 'http://other.example.com/file' }));
}

let sequence = 1_000;
async function acquireFrom(
  service: LeaseService,
  holder: string,
  uid: string,
  change: Record<string, unknown> = {},
): Promise<LeaseAnswer | 'refused'> {
  sequence += 1;
  const key = { incarnation: 'incarnation', sequence };
  const want = { wantRateBytesPerSecond: 1e9, wantConnections: 8, pullerKey: PULLER, ...change };
  const request = { op: 'acquire' as const, ...key, uid, epoch: 1, ...want };
  const answer = service.answer(relay(holder), request).catch(() => 'refused' as const);
  await leases.clock.advance(600);
  return answer;
}

function piecesOf(extents: readonly Extent[]): number[] {
  return extents.flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, at) => first + at),
  );
}

it('a container whose end is heard while the journals are read still has ended', async () => {
  await leases.acquire('one');
  leases.service = leases.newService();
  knowBoth(leases.service);
  leases.service.lead(2);
  leases.service.holderEnded('one');
  await settle();
  await leases.clock.advance(1_100);
  expect(leases.durableUsage().connections).toBe(0);
});

async function nextLeader(): Promise<LeaseService> {
  leases.service = leases.newService();
  knowBoth(leases.service);
  await leases.lead(2);
  return leases.service;
}

describe('after a change of the leader', () => {
  it('the former one grants nothing at a host that the next one has fenced', async () => {
    await leases.acquire('one', { wantConnections: 1, wantRateBytesPerSecond: 1e6 });
    await nextLeader();
    expect(await acquireFrom(former, 'two', 'a')).not.toMatchObject({ outcome: 'granted' });
    await leases.clock.advance(2_000);
    expect(formerLost).toHaveLength(1);
  });

  it('the next one gives nobody the pieces of an open lease, however soon it is asked', async () => {
    const before = await leases.acquire('one', { wantConnections: 1, wantRateBytesPerSecond: 1e6 });
    const held = new Set(piecesOf(before.extents));
    expect(held.size).toBeGreaterThan(0);
    const next = leases.newService();
    knowBoth(next);
    next.lead(2);
    const answers: Promise<LeaseAnswer>[] = [];
    const renewals: Promise<LeaseAnswer>[] = [];
    // In each turn of the opening: each time another holder, and the one that has them.
    for (let turn = 0; turn < 200; turn += 1) {
      const key = { incarnation: 'incarnation', sequence: 1 };
      const want = { wantRateBytesPerSecond: 1e5, wantConnections: 1, pullerKey: PULLER };
      const request = { op: 'acquire' as const, ...key, uid: 'a', epoch: 1, ...want };
      answers.push(next.answer(relay(`early-${turn}`), request));
      const rates = { wantRateBytesPerSecond: 1e6, wantConnections: 1 };
      const again = { ...renewal(before, 0), ...rates, ...key, sequence: 100 + turn };
      renewals.push(next.answer(relay('one'), again));
      await Promise.resolve();
    }
    await leases.clock.advance(600);
    const outcomes = (await Promise.all(renewals)).map(({ outcome }) => outcome);
    expect(outcomes).toContain('granted');
    const given = (await Promise.all(answers)).flatMap((answer) =>
      answer.outcome === 'granted' ? piecesOf(answer.grant.extents) : [],
    );
    expect(given.filter((piece) => held.has(piece))).toEqual([]);
  });

  it.each([
    ['until a relay that runs is back, which alone knows what it has', 3_000, 3_300],
    ['but not for ever where that one cannot come', 60_000, 7_000],
  ])('the next one gives nothing of what was begun %s', async (_case, backMs, givesMs) => {
    await leases.acquire('one', { wantConnections: 1, wantRateBytesPerSecond: 1e6 });
    leases.relayIsAway = true;
    const ledMs = leases.clock.now();
    leases.clock.setTimer(backMs, () => {
      leases.relayIsAway = false;
    });
    const next = await nextLeader();
    let outcome: string | undefined;
    while (outcome !== 'granted') {
      expect(leases.clock.now() - ledMs).toBeLessThan(givesMs + 700);
      // Said with every look at the distribution.
      next.setDistribution(aLeasedDistribution());
      const answer = await acquireFrom(next, 'two', 'a', { wantConnections: 1 });
      outcome = answer === 'refused' ? answer : answer.outcome;
    }
    // It is asked each 0.6 s.
    expect(leases.clock.now() - ledMs).toBeGreaterThanOrEqual(Math.min(backMs, givesMs));
  });

  it('nor at one that was never asked before: the limits are common to both', async () => {
    const next = await nextLeader();
    await leases.clock.advance(GRANTS_AFTER_MS);
    expect(await acquireFrom(next, 'one', 'a')).toMatchObject({ outcome: 'granted' });
    newHost(former);
    await settle();
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const answer = await acquireFrom(former, 'two', 'b');
      expect(answer).not.toMatchObject({ outcome: 'granted' });
    }
    expect(formerLost.length).toBeGreaterThan(0);
  });

  it('the next one counts what the former one granted at a host a moment before', async () => {
    newHost(former);
    await settle();
    await leases.clock.advance(10);
    expect(await acquireFrom(former, 'one', 'b')).toMatchObject({ outcome: 'granted' });
    const next = await nextLeader();
    await leases.clock.advance(GRANTS_AFTER_MS);
    // All connections are the other host's still.
    expect(await acquireFrom(next, 'two', 'a')).toMatchObject({ outcome: 'wait' });
  });

  it('the next one raises nothing at one host while it does not know what is open at another', async () => {
    newHost(former);
    await settle();
    await leases.clock.advance(10);
    const few = { wantConnections: 1, wantRateBytesPerSecond: 1e6 };
    for (const holder of ['two', 'three', 'four']) {
      const answer = await acquireFrom(former, holder, 'b', few);
      expect(answer).toMatchObject({ outcome: 'granted', grant: { connections: 1 } });
    }
    const grant = await leases.acquire('one', { wantRateBytesPerSecond: 1e6 });
    expect(grant.connections).toBe(1);
    const read = Promise.withResolvers<void>();
    leases.journal.reading = (host) =>
      host.startsWith('other') ? read.promise : Promise.resolve();
    await nextLeader();
    await leases.clock.advance(GRANTS_AFTER_MS);
    const renewed = await leases.ask('one', renewal(grant, 0));
    expect(renewed).toMatchObject({ outcome: 'granted', grant: { connections: 1 } });
    read.resolve();
    await settle();
    expect(leases.durableUsage().connections).toBe(1);
  });

  it('the next one grants within 2 s, and calls whoever has asked too early', async () => {
    await leases.acquire('one', { wantConnections: 1, wantRateBytesPerSecond: 1e6 });
    await nextLeader();
    const asked = await leases.ask('two', { op: 'acquire' });
    expect(asked).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
    await leases.clock.advance(GRANTS_AFTER_MS - 100);
    expect(leases.asks).toContain('two');
    expect(await leases.ask('two', { op: 'acquire' })).toMatchObject({ outcome: 'granted' });
  });

  it('within 2 s also when its journal takes most of a second to read', async () => {
    await leases.acquire('one', { wantConnections: 1, wantRateBytesPerSecond: 1e6 });
    const read = Promise.withResolvers<void>();
    leases.journal.reading = () => read.promise;
    await nextLeader();
    await leases.clock.advance(900);
    read.resolve();
    await leases.clock.advance(GRANTS_AFTER_MS - 900);
    expect(await leases.ask('two', { op: 'acquire' })).toMatchObject({ outcome: 'granted' });
  });

  it('a request to acquire that comes late ends nothing that a later one was granted', async () => {
    const late = leases.nextSequence();
    const grant = await leases.acquire('one');
    await nextLeader();
    await leases.clock.advance(GRANTS_AFTER_MS);
    await leases.ask('one', { op: 'acquire', sequence: late });
    const renewed = await leases.ask('one', renewal(grant, 0));
    expect(renewed).toMatchObject({ outcome: 'granted', grant: { leaseId: grant.leaseId } });
  });

  it('nor does one that comes again, and was granted by the former one', async () => {
    const sequence = leases.nextSequence();
    const grant = await leases.acquire('one', { sequence });
    await nextLeader();
    await leases.clock.advance(GRANTS_AFTER_MS);
    const again = await leases.ask('one', { op: 'acquire', sequence });
    expect(again).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
    const renewed = await leases.ask('one', renewal(grant, 0));
    expect(renewed).toMatchObject({ outcome: 'granted', grant: { leaseId: grant.leaseId } });
  });

  it('what nobody has ended is still ended by the next request of its holder', async () => {
    const grant = await leases.acquire('one');
    await nextLeader();
    await leases.clock.advance(GRANTS_AFTER_MS);
    const again = await leases.acquire('one');
    expect(again.leaseId).not.toBe(grant.leaseId);
    expect(leases.durableUsage().connections).toBe(again.connections);
  });

  it('the next one tells nobody that a lease is over before it has read of it', async () => {
    const grant = await leases.acquire('one');
    const next = leases.newService();
    knowBoth(next);
    next.lead(2);
    const key = (at: number) => ({ incarnation: 'incarnation', sequence: 100 + at });
    const want = { wantRateBytesPerSecond: 1e6, wantConnections: 1 };
    const renewed = next.answer(relay('one'), { ...renewal(grant, 0), ...want, ...key(1) });
    const unproven = { connections: 1, slackBytes: 0 };
    const end = { ...ended(grant, 0), unproven };
    const settled = next.answer(relay('one'), { ...end, ...key(2) });
    await expect(settled).rejects.toMatchObject({ code: 'NotReady' });
    expect(await renewed).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
    await leases.clock.advance(GRANTS_AFTER_MS);
    expect(leases.durableUsage().connections).toBe(grant.connections);
    const again = next.answer(relay('one'), { ...end, ...key(3) });
    await settle();
    expect(await again).toEqual({ outcome: 'settled' });
    expect(leases.durableUsage().connections).toBe(1);
  });

  it('the former one tells nobody that a lease is over that it does not know', async () => {
    const next = await nextLeader();
    await leases.clock.advance(GRANTS_AFTER_MS);
    const granted = await acquireFrom(next, 'one', 'a');
    if (granted === 'refused' || granted.outcome !== 'granted') throw new Error('nothing granted');
    const end = ended(granted.grant, 0);
    const settled = former.answer(relay('one'), {
      ...end,
      incarnation: 'incarnation',
      sequence: 999,
    });
    const refused = expect(settled).rejects.toThrow();
    await leases.clock.advance(2_000);
    await refused;
  });
});
