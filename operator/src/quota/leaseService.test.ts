import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseAnswer, LeaseGrant, LeaseRequest } from '@sluice/protocol/messages.ts';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import {
  aLeasedDistribution,
  aLeaseService,
  anOriginPolicy,
  PIECE_BYTES,
} from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import type { LeaseService } from './leaseService.ts';
import type { LeaseHolder } from './leases.ts';
import { apply, emptyLedger, usageOf } from './ledger.ts';

const MIB = 1024 * 1024;
const LIMITS = {
  maxConnections: 4,
  maxBandwidthBytesPerSecond: 8 * MIB,
  maxTraffic: { bytes: 40 * MIB, periodSeconds: 3600 },
};
const KEY = 'cdn.example.com:80';
const PULLER = generateFeedKeyPair().publicKey.toString('base64');

let clock: FakeClock;
let journal: MemoryJournal;
let service: LeaseService;
let lost: Error[];
let asks: string[];
let sequence = 0;

beforeEach(() => {
  clock = new FakeClock();
  journal = new MemoryJournal();
  sequence = 0;
});

function newService(limits: typeof LIMITS | Record<string, never> = LIMITS): LeaseService {
  const errors: Error[] = [];
  lost = errors;
  asks = [];
  const made = aLeaseService({
    store: journal,
    clock,
    onLost: (error) => errors.push(error),
  });
  made.onAsk((holder) => asks.push(holder));
  made.setOrigins([anOriginPolicy(limits)]);
  return made;
}

async function lead(term: number): Promise<void> {
  service.lead(term);
  await settle();
  await clock.advance(1);
}

const relay = (id: string): LeaseHolder => ({ id, kind: 'relay' });

async function ask(holder: string, request: Partial<LeaseRequest>): Promise<LeaseAnswer> {
  sequence += 1;
  const base = { incarnation: holder.padEnd(8, '-'), sequence };
  const common = { wantRateBytesPerSecond: 1e9, wantConnections: 8, pullerKey: PULLER };
  const acquire = { uid: 'a', epoch: 1, ...common };
  const full = { ...base, ...(request.op === 'acquire' ? acquire : common), ...request };
  const answer = service.answer(relay(holder), full as LeaseRequest);
  await settle();
  return answer;
}

async function acquire(holder: string, change: Record<string, unknown> = {}): Promise<LeaseGrant> {
  const answer = await ask(holder, { op: 'acquire', timeToFirstByteMs: 10, ...change });
  if (answer.outcome !== 'granted') throw new Error(JSON.stringify(answer));
  return answer.grant;
}

function renewal(grant: LeaseGrant, usedBytes: number, unfinished = grant.extents) {
  const { leaseId, version } = grant;
  return { op: 'renew' as const, leaseId, version, usedBytes, unfinished, timeToFirstByteMs: 10 };
}

function ended(grant: LeaseGrant, usedBytes: number, unfinished: LeaseGrant['extents'] = []) {
  const { leaseId, version } = grant;
  return { op: 'settle' as const, leaseId, version, usedBytes, unfinished };
}

/** What the journal, read by anybody at any time, says is granted. */
function durableUsage() {
  return usageOf(
    journal
      .of(KEY)
      .flatMap(({ entries }) => entries)
      .reduce(apply, emptyLedger),
  );
}

describe('leases', () => {
  beforeEach(async () => {
    service = newService();
    service.setDistribution(aLeasedDistribution());
    await lead(1);
  });

  it('are in the journal before they are told, with pieces in file order and a certificate', async () => {
    const grant = await acquire('one');
    expect(journal.of(KEY).at(-1)?.entries[0]).toMatchObject({
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

  it('go on with others when a puller is revoked, from what relays hold then', async () => {
    const first = await acquire('one');
    const [{ first: lowest = -1 } = {}] = first.extents;
    const all = Buffer.alloc(8, 255);
    service.setHeld('a', 1, 'two', all);
    service.setDistribution(aLeasedDistribution({ revokedPullers: [PULLER] }));
    // It has asked the origin for something: its lease counts until it ends.
    expect(durableUsage().connections).toBe(first.connections);
    expect(await ask('one', renewal(first, MIB))).toEqual({ outcome: 'gone' });
    expect(await ask('one', { op: 'acquire' })).toMatchObject({ reason: 'NotAllowed' });
    const pullerKey = generateFeedKeyPair().publicKey.toString('base64');
    expect(await ask('two', { op: 'acquire', pullerKey })).toMatchObject({ reason: 'NotReady' });
    await clock.advance(60_000);
    const second = await acquire('two', { pullerKey });
    expect(second.extents[0]?.first).toBe(lowest);
    // Held, that is what was reported since.
    service.setHeld('a', 1, 'three', Buffer.from([127, 255, 255, 255, 255, 255, 255, 255]));
    await ask('two', ended(second, MIB, [{ first: 0, count: 1 }]));
    expect((await acquire('two', { pullerKey })).extents).toEqual([{ first: 0, count: 1 }]);
  });

  it('use 95 % of the bandwidth and no more, in any second', async () => {
    const { rateBytesPerSecond, slackBytes } = await acquire('one');
    expect(rateBytesPerSecond + slackBytes).toBeLessThanOrEqual(LIMITS.maxBandwidthBytesPerSecond);
    expect(rateBytesPerSecond).toBeGreaterThan(0.95 * LIMITS.maxBandwidthBytesPerSecond);
  });

  it('come down when another wants its share, who gets it when that is acknowledged', async () => {
    const first = await acquire('one');
    expect(await ask('two', { op: 'acquire' })).toMatchObject({ outcome: 'wait' });
    const smaller = await ask('one', renewal(first, MIB));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    expect(smaller.grant.rateBytesPerSecond).toBeLessThan(0.55 * first.rateBytesPerSecond);
    expect(smaller.grant.connections).toBe(2);
    expect(await ask('two', { op: 'acquire' })).toMatchObject({ outcome: 'wait' });
    asks.length = 0;
    await ask('one', renewal(smaller.grant, 2 * MIB));
    expect(asks).toContain('two');
    const second = await acquire('two');
    expect(second.rateBytesPerSecond).toBeGreaterThan(0.4 * first.rateBytesPerSecond);
    expect(second.connections).toBe(2);
    const pieces = [first, smaller.grant, second].map(({ extents }) => extents);
    expect(pieces[2]?.[0]?.first).toBeGreaterThan(pieces[1]?.at(-1)?.first ?? 0);
  });

  it('keep their version while nothing of them becomes smaller: there is nothing to acknowledge', async () => {
    const first = await acquire('one');
    const left = first.extents.map(({ first: from, count }) => ({
      first: from + 4,
      count: count - 4,
    }));
    const same = await ask('one', renewal(first, 4 * PIECE_BYTES, left));
    if (same.outcome !== 'granted') throw new Error(same.outcome);
    expect(same.grant.version).toBe(first.version);
    expect(same.grant.maxBytes).toBeGreaterThan(first.maxBytes);
    await ask('two', { op: 'acquire' });
    const smaller = await ask('one', renewal(same.grant, 5 * PIECE_BYTES, left));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    expect(smaller.grant.version).toBe(first.version + 1);
    const acknowledged = await ask('one', renewal(smaller.grant, 6 * PIECE_BYTES, left));
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
    const answers = [service.answer(relay('one'), request), service.answer(relay('one'), request)];
    await settle();
    expect(await answers[0]).toEqual(await answers[1]);
    expect(durableUsage().connections).toBe(1);
  });

  it('give every piece once when nobody fails, and what is unfinished again', async () => {
    const pulled: number[] = [];
    let fails = true;
    for (let turn = 0; turn < 100; turn += 1) {
      const answer = await ask('one', { op: 'acquire' });
      if (answer.outcome !== 'granted') break;
      const { extents } = answer.grant;
      const pieces = extents.flatMap(({ first, count }) =>
        Array.from({ length: count }, (_, at) => first + at),
      );
      const left = fails ? pieces.splice(-2) : [];
      pulled.push(...pieces);
      const unfinished = left.map((first) => ({ first, count: 1 }));
      await ask('one', ended(answer.grant, pieces.length * PIECE_BYTES, unfinished));
      fails = !fails;
    }
    expect(pulled.sort((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, at) => at));
    expect(service.originBytes('a')).toBe(64 * PIECE_BYTES);
    expect(await ask('one', { op: 'acquire' })).toMatchObject({ reason: 'NothingToPull' });
  });

  it('end with their time; connections are free when their sockets surely are', async () => {
    const grant = await acquire('one');
    await clock.advance(grant.ttlMs + 200);
    expect(durableUsage()).toMatchObject({ rateBytesPerSecond: 0, connections: grant.connections });
    expect(await ask('one', renewal(grant, 0))).toEqual({ outcome: 'gone' });
    await clock.advance(20_000);
    expect(durableUsage().connections).toBe(0);
    // Unknown means spent.
    expect(durableUsage().trafficBytes).toBe(grant.maxBytes);
  });

  it('give their pieces to others when they end, long before their connections are free', async () => {
    const grant = await acquire('one', { wantConnections: 1, wantRateBytesPerSecond: MIB });
    await clock.advance(grant.ttlMs + 200);
    const next = await acquire('two', { wantConnections: 1, wantRateBytesPerSecond: MIB });
    expect(next.extents[0]?.first).toBe(0);
    expect(durableUsage().connections).toBe(2);
  });

  it('are over when their holder asks for another: it has heard of none', async () => {
    const unheard = await acquire('one');
    const grant = await acquire('one');
    expect(grant.leaseId).not.toBe(unheard.leaseId);
    expect(grant.extents).toEqual(unheard.extents);
    expect(durableUsage()).toMatchObject({
      connections: grant.connections,
      trafficBytes: unheard.maxBytes + grant.maxBytes,
    });
  });

  it('wait until the limits are known', async () => {
    service = aLeaseService({ store: journal, clock });
    service.setDistribution(aLeasedDistribution());
    await lead(2);
    expect(await ask('one', { op: 'acquire' })).toMatchObject({ reason: 'NotReady' });
  });

  it('are under the defaults where their Origin sets no limit', async () => {
    service = newService({});
    service.setDistribution(aLeasedDistribution());
    await lead(2);
    const grant = await acquire('one');
    expect(grant.connections).toBe(2);
    expect(grant.rateBytesPerSecond).toBeLessThan(MIB);
  });

  it('stay counted when another Origin covers the host, and so does what was taken', async () => {
    const taken = await acquire('one');
    await ask('one', ended(taken, 3 * MIB));
    const open = await acquire('one');
    service.setOrigins([
      anOriginPolicy(LIMITS, { name: 'another', hosts: ['cdn.example.com:80'] }),
    ]);
    expect(service.usage('cdn')).toMatchObject({ connections: 0, trafficBytes: 0 });
    expect(service.usage('another')).toMatchObject({
      connections: open.connections,
      trafficBytes: 3 * MIB,
    });
    expect(await ask('two', { op: 'acquire' })).toMatchObject({ reason: 'ConnectionsInUse' });
  });

  it('need no more slack for a newcomer than the origin is known to need', async () => {
    await acquire('one', { wantRateBytesPerSecond: MIB, timeToFirstByteMs: 10 });
    const second = await acquire('two', { timeToFirstByteMs: undefined });
    expect(second.slackBytes / second.rateBytesPerSecond).toBeCloseTo(0.042, 3);
  });

  it('share the limits of an Origin over all its hosts', async () => {
    service.setOrigins([
      anOriginPolicy(LIMITS, { name: 'both', hosts: ['cdn.example.com', 'mirror.example.com'] }),
    ]);
    const url = 'https://mirror.example.com./file';
    service.setDistribution(aLeasedDistribution({ uid: 'm', url }));
    await clock.advance(1);
    const first = await acquire('one');
    expect(await ask('two', { op: 'acquire', uid: 'm' })).toMatchObject({ outcome: 'wait' });
    const smaller = await ask('one', renewal(first, MIB));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    await ask('one', renewal(smaller.grant, MIB));
    const second = await acquire('two', { uid: 'm' });
    const sum = smaller.grant.rateBytesPerSecond + second.rateBytesPerSecond;
    expect(sum).toBeLessThan(LIMITS.maxBandwidthBytesPerSecond);
    expect(smaller.grant.connections + second.connections).toBe(LIMITS.maxConnections);
    expect(journal.of('mirror.example.com:443')).not.toHaveLength(0);
  });

  it('return a second after the kubelet has reported the end of the container', async () => {
    await acquire('one');
    service.holderEnded('one');
    await clock.advance(999);
    expect(durableUsage().connections).toBeGreaterThan(0);
    await clock.advance(2);
    expect(durableUsage().connections).toBe(0);
  });

  it('stop at the limit of traffic', async () => {
    service.setDistribution(aLeasedDistribution({ uid: 'big', pieceCount: 400 }));
    let used = 0;
    let answer = await ask('one', { op: 'acquire', uid: 'big' });
    while (answer.outcome === 'granted') {
      const bytes = answer.grant.extents.reduce((sum, { count }) => sum + count * PIECE_BYTES, 0);
      used += bytes;
      await ask('one', ended(answer.grant, bytes));
      answer = await ask('one', { op: 'acquire', uid: 'big' });
    }
    expect(answer).toMatchObject({ outcome: 'wait', reason: 'TrafficExhausted' });
    expect(used).toBeLessThanOrEqual(LIMITS.maxTraffic.bytes);
    expect(used).toBeGreaterThan(0.9 * LIMITS.maxTraffic.bytes);
    await clock.advance(3_600_000);
    expect(await ask('one', { op: 'acquire', uid: 'big' })).toMatchObject({ outcome: 'granted' });
  });

  it('give one stream and a reserve where the origin honours no ranges', async () => {
    service.setDistribution(aLeasedDistribution({ uid: 'plain', ranges: false }));
    const grant = await acquire('one', { uid: 'plain' });
    expect(grant).toMatchObject({ connections: 1, extents: [{ first: 0, count: 64 }] });
    expect(grant.slackBytes).toBeGreaterThanOrEqual(4 * MIB);
    expect(grant.rateBytesPerSecond + grant.slackBytes).toBeLessThanOrEqual(8 * MIB);
    expect(await ask('two', { op: 'acquire', uid: 'plain' })).toMatchObject({
      reason: 'NothingToPull',
    });
  });

  it('make room for a probe, which is charged what it took', async () => {
    const grant = await acquire('one');
    const probe = service.charge(
      { url: 'http://cdn.example.com/other', uid: 'b', maxBytes: 4 * MIB },
      new AbortController().signal,
      async () => ({ result: durableUsage().connections, usedBytes: 500 }),
    );
    await clock.advance(100);
    const smaller = await ask('one', renewal(grant, MIB));
    if (smaller.outcome !== 'granted') throw new Error(smaller.outcome);
    await ask('one', renewal(smaller.grant, MIB));
    await clock.advance(200);
    expect(await probe).toBeGreaterThan(1);
    expect(service.originBytes('b')).toBe(500);
  });

  it('are known to the next leader, whose fence ends the one before', async () => {
    const grant = await acquire('one');
    const former = service;
    const formerLost = lost;
    service = newService();
    service.setDistribution(aLeasedDistribution());
    await lead(1);
    expect(service.usage('cdn')?.connections).toBe(grant.connections);
    const renewed = await ask('one', renewal(grant, 0));
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

type Step =
  | { kind: 'acquire' | 'renew' | 'settle' | 'kill'; holder: number }
  | { kind: 'pass'; ms: number }
  | { kind: 'fault'; fault: 'none' | 'lost' | 'down' }
  | { kind: 'lead' }
  | { kind: 'probe' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'acquire' as const,
        'renew' as const,
        'renew' as const,
        'settle' as const,
        'kill' as const,
      ),
      holder: fc.nat(4),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(12_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('fault' as const),
      fault: fc.constantFrom('none' as const, 'none' as const, 'lost' as const, 'down' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lead' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('probe' as const) }) },
);

describe('at every durable prefix of the journal', () => {
  it("no limit is exceeded and no piece is two pullers', whatever crashes", async () => {
    let granted = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
        clock = new FakeClock();
        journal = new MemoryJournal();
        service = newService();
        service.setDistribution(aLeasedDistribution({ pieceCount: 100 }));
        let term = 1;
        await lead(term);
        const grants = new Map<number, { grant: LeaseGrant; used: number }>();
        const take = (holder: number, promise: Promise<LeaseAnswer>, used: number) =>
          promise.then(
            (answer) => {
              if (answer.outcome === 'granted') grants.set(holder, { grant: answer.grant, used });
              if (answer.outcome === 'gone') grants.delete(holder);
            },
            () => {},
          );
        for (const each of steps) {
          if (each.kind === 'pass') await clock.advance(each.ms);
          if (each.kind === 'fault') journal.fault = () => each.fault;
          if (each.kind === 'lead') {
            // The former one goes on: nobody has told it.
            service = newService();
            service.setDistribution(aLeasedDistribution({ pieceCount: 100 }));
            term += 1;
            await lead(term);
          }
          if (each.kind === 'probe') {
            const request = { url: 'http://cdn.example.com/x', uid: 'p', maxBytes: MIB };
            const signal = new AbortController().signal;
            service
              .charge(request, signal, async () => ({ result: 0, usedBytes: 700 }))
              .catch(() => {});
          }
          if ('holder' in each) {
            const name = `h${each.holder}`;
            const held = grants.get(each.holder);
            sequence += 1;
            const base = { incarnation: `${name}------`, sequence };
            const want = { wantRateBytesPerSecond: 1e8, wantConnections: 3 };
            if (each.kind === 'acquire' && held === undefined) {
              const request = { op: 'acquire', uid: 'a', epoch: 1, pullerKey: PULLER } as const;
              void take(
                each.holder,
                service.answer(relay(name), { ...base, ...request, ...want }),
                0,
              );
            }
            if (each.kind === 'renew' && held !== undefined) {
              const used = Math.min(held.grant.maxBytes, held.used + PIECE_BYTES);
              const unfinished = held.grant.extents.slice(1);
              const request = { ...renewal(held.grant, used, unfinished), ...want };
              void take(each.holder, service.answer(relay(name), { ...base, ...request }), used);
            }
            if (each.kind === 'settle' && held !== undefined) {
              grants.delete(each.holder);
              const request = ended(held.grant, held.used, held.grant.extents);
              service.answer(relay(name), { ...base, ...request }).catch(() => {});
            }
            if (each.kind === 'kill') {
              grants.delete(each.holder);
              service.holderEnded(name);
            }
          }
          await settle();
        }
        granted += journal.of(KEY).length;
        let ledger = emptyLedger;
        for (const document of journal.of(KEY)) {
          ledger = document.entries.reduce(apply, ledger);
          const usage = usageOf(ledger);
          expect(usage.connections).toBeLessThanOrEqual(LIMITS.maxConnections);
          expect(usage.windowBytes).toBeLessThanOrEqual(LIMITS.maxBandwidthBytesPerSecond);
          expect(usage.trafficBytes).toBeLessThanOrEqual(LIMITS.maxTraffic.bytes);
          const taken = new Set<number>();
          for (const { extents, expired } of ledger.leases.values()) {
            if (expired) continue;
            for (const { first, count } of extents) {
              for (let piece = first; piece < first + count; piece += 1) {
                expect(taken.has(piece)).toBe(false);
                taken.add(piece);
              }
            }
          }
        }
      }),
      { numRuns: 500 },
    );
    // Not for want of anything granted.
    expect(granted).toBeGreaterThan(500 * 5);
  }, 60_000);
});
