import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aGrant, termsOf } from '../testing/journals.ts';
import { GENERATION_UIDS } from './charges.ts';
import type { Entry, Terms } from './entries.ts';
import {
  apply,
  BOUNDARY_MS,
  chargeOf,
  emptyLedger,
  fromSnapshot,
  type LeaseRecord,
  type Ledger,
  periodStartAt,
  topUpBytesOf,
  toSnapshot,
  type Usage,
  unprovenOf,
  usageOf,
} from './ledger.ts';

const HOUR_MS = 3_600_000;
const START_MS = 1_000_000 * HOUR_MS;

function grant(leaseId: string, change: Partial<Terms> = {}, epoch = 1): Entry {
  const terms = termsOf({ connections: 2, ...change });
  return aGrant(leaseId, { epoch, wantConnections: 2, terms, extents: [] });
}

function renew(version: number, acknowledged: number, change: Partial<Terms>): Entry {
  const terms = termsOf({ connections: 2, ...change });
  return { kind: 'renew', leaseId: 'x', version, acknowledged, terms, extents: [] };
}

const settle = (leaseId: string, usedBytes: number, atMs = START_MS): Entry => ({
  kind: 'settle',
  leaseId,
  usedBytes,
  atMs,
});

const fold = (...entries: Entry[]): Ledger => entries.reduce(apply, emptyLedger);

describe('the ledger', () => {
  it('counts the larger of two versions until the smaller one is acknowledged', () => {
    const smaller = { rateBytesPerSecond: 40, slackBytes: 4, connections: 1, maxBytes: 500 };
    const both = fold(grant('x'), renew(2, 1, smaller));
    expect(usageOf(both)).toEqual({
      connections: 2,
      rateBytesPerSecond: 100,
      slackBytes: 10,
      windowBytes: 110,
      trafficBytes: 1000,
    });
    expect(usageOf(apply(both, renew(2, 2, smaller)))).toEqual({
      connections: 1,
      rateBytesPerSecond: 40,
      slackBytes: 4,
      windowBytes: 44,
      trafficBytes: 500,
    });
  });

  it('counts what was outstanding before a raise beside the rate after it', () => {
    const before = { rateBytesPerSecond: 440, slackBytes: 53, connections: 1, maxBytes: 500 };
    const raised = { ...before, rateBytesPerSecond: 482, slackBytes: 18 };
    const both = fold(grant('x'), renew(2, 2, before), renew(3, 2, raised));
    expect(usageOf(both).windowBytes).toBe(482 + 53);
    expect(usageOf(apply(both, renew(3, 3, raised))).windowBytes).toBe(482 + 18);
  });

  it('counts a larger version as soon as it is granted', () => {
    const { rateBytesPerSecond } = usageOf(
      fold(grant('x'), renew(1, 1, { rateBytesPerSecond: 300 })),
    );
    expect(rateBytesPerSecond).toBe(300);
  });

  it('returns the rate at expiry, connections and slack when they are surely closed', () => {
    const expired = fold(grant('x'), { kind: 'expire', leaseId: 'x' });
    expect(usageOf(expired)).toEqual({
      connections: 2,
      rateBytesPerSecond: 0,
      slackBytes: 10,
      windowBytes: 10,
      trafficBytes: 1000,
    });
    const closed = apply(expired, { kind: 'close', leaseId: 'x', atMs: START_MS });
    expect(usageOf(closed)).toMatchObject({ connections: 0, windowBytes: 0, trafficBytes: 1000 });
  });

  it('charges what was used when a lease is settled, once, even if it is more than was granted', () => {
    const settled = fold(grant('x'), settle('x', 1100), settle('x', 1100));
    expect(usageOf(settled)).toMatchObject({ connections: 0, trafficBytes: 1100 });
    expect(chargeOf(settled, 'a')).toEqual({ bytes: 1100, epoch: 1 });
  });

  it('keeps what a settled lease left unproven, and nothing else of it, until that is closed', () => {
    const unproven = { connections: 1, slackBytes: 7 };
    const end: Entry = { kind: 'settle', leaseId: 'x', usedBytes: 300, atMs: START_MS, unproven };
    const left = fold(grant('x'), grant('y'), end);
    expect(usageOf(left, 'y')).toEqual({
      connections: 1,
      rateBytesPerSecond: 0,
      slackBytes: 7,
      windowBytes: 7,
      trafficBytes: 300,
    });
    // Said again, it is charged no more, and proves no more.
    expect(apply(left, settle('x', 900))).toEqual(left);
    const closed = apply(left, { kind: 'close', leaseId: 'x', atMs: START_MS });
    expect(closed.leases.get('x')).toBeUndefined();
    expect(usageOf(closed, 'y')).toMatchObject({
      connections: 0,
      windowBytes: 0,
      trafficBytes: 300,
    });
    expect(chargeOf(closed, 'a')).toEqual({ bytes: 300, epoch: 1 });
  });

  it('believes no holder that it left more than it had', () => {
    const lease = fold(grant('x'), renew(2, 1, { connections: 1, slackBytes: 20 })).leases.get('x');
    const said = { connections: 9, slackBytes: 1e9 };
    expect(unprovenOf(lease as LeaseRecord, said)).toEqual({ connections: 2, slackBytes: 20 });
  });

  it('charges a lost lease what its holder has proven, where that is more than it was granted', () => {
    const lost = fold(grant('x'), { kind: 'close', leaseId: 'x', atMs: START_MS, usedBytes: 1500 });
    expect(usageOf(lost).trafficBytes).toBe(1500);
    const less = fold(grant('x'), { kind: 'close', leaseId: 'x', atMs: START_MS, usedBytes: 500 });
    expect(usageOf(less).trafficBytes).toBe(1000);
  });

  it('knows the last epoch of which anything was pulled', () => {
    const probed = fold(grant('p', {}, 0), settle('p', 300), grant('x', {}, 3), settle('x', 0));
    expect(chargeOf(probed, 'a')).toEqual({ bytes: 300, epoch: 0 });
    expect(chargeOf(fold(grant('x', {}, 3), settle('x', 9)), 'a').epoch).toBe(3);
  });

  it('forgets what distributions took that are long gone, not what is recent', () => {
    let ledger = emptyLedger;
    const many = 2 * GENERATION_UIDS + 10;
    for (let at = 0; at < many; at += 1) {
      for (const uid of [`uid-${at}`, 'steady']) {
        ledger = apply(ledger, { ...grant('x'), uid } as Entry);
        ledger = apply(ledger, settle('x', 1));
      }
    }
    const { newer, older } = ledger.charges;
    expect(newer.size + older.size).toBeLessThanOrEqual(2 * GENERATION_UIDS);
    expect(chargeOf(ledger, 'uid-0').bytes).toBe(0);
    expect(chargeOf(ledger, `uid-${many - GENERATION_UIDS + 1}`).bytes).toBe(1);
    expect(chargeOf(ledger, 'steady').bytes).toBe(many);
  });

  it('is the same after a snapshot', () => {
    const ledger = fold(
      { kind: 'fence', term: 4 },
      grant('x'),
      grant('y'),
      settle('y', 12),
      renew(2, 1, { connections: 1 }),
    );
    const stored = JSON.parse(JSON.stringify(toSnapshot(ledger)));
    expect(fromSnapshot(stored)).toEqual(ledger);
  });

  it('keeps sums that a count of all leases gives, at each prefix and from a snapshot on', () => {
    fc.assert(
      fc.property(fc.array(anEntry, { maxLength: 80 }), fc.nat(80), (entries, snapshotAt) => {
        let ledger = emptyLedger;
        for (const [at, entry] of entries.entries()) {
          ledger = apply(ledger, entry);
          if (at === snapshotAt)
            ledger = fromSnapshot(JSON.parse(JSON.stringify(toSnapshot(ledger))));
          for (const except of [undefined, ...LEASES]) {
            expect(usageOf(ledger, except)).toEqual(recount(ledger, except));
            for (const uid of UIDS) {
              const { topUp } = chargeOf(ledger, uid);
              const settled = topUp?.epoch === 1 ? topUp.bytes : 0;
              const open = recountTopUp(ledger, uid, except);
              expect(topUpBytesOf(ledger, uid, 1, except)).toBe(settled + open);
            }
          }
        }
      }),
    );
  });
});

describe('a restart', () => {
  const restart: Entry = {
    kind: 'restart',
    after: 1,
    identity: 'a',
    trafficBytes: 1_500,
    periodStartMs: START_MS,
    atMs: START_MS,
  };

  it('counts what the mark allows', () => {
    expect(usageOf(fold(restart)).trafficBytes).toBe(1_500);
    expect(usageOf(fold(grant('x'), settle('x', 200), restart)).trafficBytes).toBe(1_500);
  });

  it('and no less when a lease from before the loss ends with less than it was for', () => {
    // It may have been cut down since, or settled, and what it left granted to others.
    const ended = fold(grant('x'), restart, settle('x', 100));
    expect(usageOf(ended).trafficBytes).toBeGreaterThanOrEqual(1_500);
  });
});

const LEASES = ['x', 'y', 'z'];
const UIDS = ['a', 'b'];
const someTerms = fc.record({
  rateBytesPerSecond: fc.nat(1_000),
  slackBytes: fc.nat(100),
  connections: fc.nat(8),
  maxBytes: fc.nat(10_000),
});
const leaseId = fc.constantFrom(...LEASES);
const someGrant = fc
  .record({
    leaseId,
    uid: fc.constantFrom(...UIDS),
    epoch: fc.integer({ min: 1, max: 2 }),
    terms: someTerms,
    isTopUp: fc.boolean(),
  })
  .map(({ isTopUp, ...change }): Entry => {
    const purpose = isTopUp ? { purpose: 'topUp' as const } : {};
    return { ...grant('x'), ...change, ...purpose } as Entry;
  });
const someRenew = fc
  .record({ leaseId, terms: someTerms, version: fc.integer({ min: 1, max: 4 }), back: fc.nat(2) })
  .map(({ version, back, ...change }): Entry => {
    return { ...renew(version, version - back, {}), ...change } as Entry;
  });
const someEnd = fc
  .record({ leaseId, usedBytes: fc.nat(9_000), atMs: fc.nat(200_000) })
  .chain(({ leaseId, usedBytes, atMs }) =>
    fc.constantFrom<Entry>(
      { kind: 'settle', leaseId, usedBytes, atMs: START_MS + atMs },
      {
        kind: 'settle',
        leaseId,
        usedBytes,
        atMs: START_MS + atMs,
        unproven: { connections: 1 + (usedBytes % 3), slackBytes: usedBytes % 70 },
      },
      { kind: 'close', leaseId, atMs: START_MS + atMs },
      { kind: 'expire', leaseId },
    ),
  );
const somePeriod = fc.nat(3).map((at): Entry => {
  return { kind: 'period', startMs: START_MS + at * HOUR_MS };
});
const anEntry = fc.oneof(
  { weight: 3, arbitrary: someGrant },
  { weight: 3, arbitrary: someRenew },
  { weight: 3, arbitrary: someEnd },
  { weight: 1, arbitrary: somePeriod },
);

/** As the design says it, over all leases, without anything that the ledger keeps. */
function recount(ledger: Ledger, except: string | undefined): Usage {
  const most = (values: number[]) => Math.max(0, ...values);
  const sum = {
    connections: 0,
    rateBytesPerSecond: 0,
    slackBytes: 0,
    windowBytes: 0,
    trafficBytes: ledger.settledBytes,
  };
  for (const { leaseId, versions, expired } of ledger.leases.values()) {
    if (leaseId === except) continue;
    const rates = versions.map(({ rateBytesPerSecond }) => (expired ? 0 : rateBytesPerSecond));
    sum.connections += most(versions.map(({ connections }) => connections));
    sum.rateBytesPerSecond += most(rates);
    sum.slackBytes += most(versions.map(({ slackBytes }) => slackBytes));
    // What one version let be outstanding, and then the rate of a later one.
    const windows = versions.map(({ slackBytes }, at) => slackBytes + most(rates.slice(at)));
    sum.windowBytes += most(windows);
    sum.trafficBytes += most(versions.map(({ maxBytes }) => maxBytes));
  }
  return sum;
}

function recountTopUp(ledger: Ledger, uid: string, except: string | undefined): number {
  return [...ledger.leases.values()]
    .filter(({ purpose, leaseId }) => purpose === 'topUp' && leaseId !== except)
    .filter((lease) => lease.uid === uid && lease.epoch === 1)
    .reduce((sum, { versions }) => sum + Math.max(...versions.map(({ maxBytes }) => maxBytes)), 0);
}

describe('a period of traffic', () => {
  const begin: Entry = { kind: 'period', startMs: START_MS };

  it('ends a minute late, so that no clock that differs by less sees too much in one', () => {
    expect(periodStartAt(START_MS + BOUNDARY_MS - 1, HOUR_MS)).toBe(START_MS - HOUR_MS);
    expect(periodStartAt(START_MS + BOUNDARY_MS, HOUR_MS)).toBe(START_MS);
  });

  it('begins with what was settled since a minute before it, and with what is open', () => {
    const before = fold(
      { kind: 'period', startMs: START_MS - HOUR_MS },
      ...[grant('x'), settle('x', 1, START_MS - 2 * BOUNDARY_MS)],
      ...[grant('x'), settle('x', 20, START_MS - BOUNDARY_MS / 2)],
      ...[grant('x'), settle('x', 300, START_MS + BOUNDARY_MS / 2)],
      grant('y', { maxBytes: 4000 }),
    );
    expect(usageOf(before).trafficBytes).toBe(4321);
    expect(usageOf(apply(before, begin)).trafficBytes).toBe(4320);
  });

  it('begins with everything when it is the first: the journal may have begun in it', () => {
    const long = fold(grant('x'), settle('x', 7, START_MS - 10 * HOUR_MS), begin);
    expect(usageOf(long).trafficBytes).toBe(7);
  });

  it('that is longer than the one before counts what was taken since it began', () => {
    const hours = fold(
      { kind: 'period', startMs: START_MS - 5 * HOUR_MS, periodMs: HOUR_MS },
      ...[grant('x'), settle('x', 1, START_MS - 4.5 * HOUR_MS)],
      { kind: 'period', startMs: START_MS - HOUR_MS, periodMs: HOUR_MS },
      ...[grant('x'), settle('x', 20, START_MS - 0.5 * HOUR_MS)],
      { kind: 'period', startMs: START_MS, periodMs: HOUR_MS },
      ...[grant('x'), settle('x', 300, START_MS + 0.5 * HOUR_MS)],
    );
    expect(usageOf(hours).trafficBytes).toBe(300);
    const longer = (fromMs: number): Entry => {
      return { kind: 'period', startMs: START_MS, periodMs: 6 * HOUR_MS, fromMs };
    };
    const sinceTwo = apply(hours, longer(START_MS - 2 * HOUR_MS));
    expect(sinceTwo).toMatchObject({ periodStartMs: START_MS, settledBytes: 320 });
    const sinceSix = apply(hours, longer(START_MS - 6 * HOUR_MS));
    expect(sinceSix.settledBytes).toBe(321);
    const back: Entry = { kind: 'period', startMs: START_MS, periodMs: HOUR_MS, fromMs: START_MS };
    // Of an hour that is in it in part all counts.
    expect(apply(sinceSix, back).settledBytes).toBe(320);
  });

  it('that is shorter counts what was taken in all of it', () => {
    const day = fold(
      { kind: 'period', startMs: START_MS - 24 * HOUR_MS, periodMs: 48 * HOUR_MS },
      ...[grant('x'), settle('x', 1, START_MS - 3 * HOUR_MS)],
      ...[grant('x'), settle('x', 20, START_MS + 60_000)],
      ...[grant('x'), settle('x', 300, START_MS + 0.7 * HOUR_MS)],
    );
    const hour: Entry = { kind: 'period', startMs: START_MS, periodMs: HOUR_MS, fromMs: START_MS };
    expect(apply(day, hour)).toMatchObject({ periodStartMs: START_MS, settledBytes: 320 });
  });

  it('of which only a part is known counts what counted before', () => {
    const { history: _, ...old } = toSnapshot(
      fold({ kind: 'period', startMs: START_MS - HOUR_MS }, grant('x'), settle('x', 7)),
    );
    const entry = { kind: 'period', startMs: START_MS - HOUR_MS, periodMs: 9 * HOUR_MS } as const;
    const longer = apply(fromSnapshot(old), { ...entry, fromMs: START_MS - 9 * HOUR_MS });
    expect(longer.settledBytes).toBe(7);
  });

  it('is never credited with bytes that a clock somewhere puts into it', () => {
    const settles = fc.array(
      fc.record({ bytes: fc.nat(100), afterMs: fc.integer({ min: 0, max: 30_000 }) }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(settles, fc.integer({ min: -59_000, max: 59_000 }), (list, skewMs) => {
        let now = START_MS - 5 * BOUNDARY_MS;
        let ledger = apply(emptyLedger, { kind: 'period', startMs: START_MS - HOUR_MS });
        const seen = new Map<number, number>();
        for (const { bytes, afterMs } of list) {
          now += afterMs;
          const startMs = periodStartAt(now, HOUR_MS);
          if (startMs > ledger.periodStartMs) ledger = apply(ledger, { kind: 'period', startMs });
          ledger = [grant('x'), settle('x', bytes, now)].reduce(apply, ledger);
          // The origin's own counter, by its own clock.
          const period = Math.floor((now + skewMs) / HOUR_MS);
          seen.set(period, (seen.get(period) ?? 0) + bytes);
          expect(ledger.settledBytes).toBeGreaterThanOrEqual(seen.get(period) ?? 0);
        }
      }),
    );
  });
});
