import type { LeaseAnswer, LeaseGrant } from '@sluice/protocol/leaseMessages.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { settle } from '../testing/fakeClock.ts';
import { aLeasedDistribution, PIECE_BYTES } from '../testing/leasing.ts';
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
import { apply, emptyLedger, usageOf } from './ledger.ts';

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
        const leases = new TestLeases();
        leases.service.setDistribution(aLeasedDistribution({ pieceCount: 100 }));
        let [term, sequence] = [1, 0];
        await leases.lead(term);
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
          if (each.kind === 'pass') await leases.clock.advance(each.ms);
          if (each.kind === 'fault') leases.journal.fault = () => each.fault;
          if (each.kind === 'lead') {
            // The former one goes on: nobody has told it.
            leases.service = leases.newService();
            leases.service.setDistribution(aLeasedDistribution({ pieceCount: 100 }));
            term += 1;
            await leases.lead(term);
          }
          if (each.kind === 'probe') {
            const request = { url: 'http://cdn.example.com/x', uid: 'p', maxBytes: MIB };
            const signal = new AbortController().signal;
            leases.service
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
                leases.service.answer(relay(name), { ...base, ...request, ...want }),
                0,
              );
            }
            if (each.kind === 'renew' && held !== undefined) {
              const used = Math.min(held.grant.maxBytes, held.used + PIECE_BYTES);
              const unfinished = held.grant.extents.slice(1);
              const request = { ...renewal(held.grant, used, unfinished), ...want };
              void take(
                each.holder,
                leases.service.answer(relay(name), { ...base, ...request }),
                used,
              );
            }
            if (each.kind === 'settle' && held !== undefined) {
              grants.delete(each.holder);
              const request = ended(held.grant, held.used, held.grant.extents);
              leases.service.answer(relay(name), { ...base, ...request }).catch(() => {});
            }
            if (each.kind === 'kill') {
              grants.delete(each.holder);
              leases.service.holderEnded(name);
            }
          }
          await settle();
        }
        granted += leases.journal.of(KEY).length;
        let ledger = emptyLedger;
        for (const document of leases.journal.of(KEY)) {
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
