import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sharesByPurpose, WORTH_A_TURN } from './allocate.ts';
import { Claims, claimId, type Want } from './claims.ts';
import type { LeaseRecord } from './ledger.ts';

function want(holder: string, change: Partial<Want> = {}): Want {
  return {
    holder,
    uid: 'a',
    weight: 1,
    purpose: 'topUp',
    wantRateBytesPerSecond: WORTH_A_TURN,
    wantConnections: 1,
    timeToFirstByteMs: 20,
    atMs: 0,
    ...change,
  };
}

function held(holder: string): LeaseRecord {
  const terms = { rateBytesPerSecond: 1, slackBytes: 1, connections: 1, maxBytes: 1 };
  return {
    leaseId: holder,
    holder,
    uid: 'a',
    epoch: 1,
    pullerKey: '',
    wantConnections: 1,
    versions: [{ ...terms, version: 1 }],
    extents: [],
    expired: false,
  };
}

function claimsOf(wants: readonly Want[]): Claims {
  const claims = new Claims();
  for (const each of wants) claims.set(each, false);
  return claims;
}

describe('claims', () => {
  it('of nodes that wait are looked at in the order of asking, those of others always', () => {
    const claims = claimsOf([
      want('n1'),
      want('n2'),
      want('n3'),
      want('n4'),
      want('r', { purpose: 'pull' }),
    ]);
    // Who asks again keeps its place.
    claims.set(want('n1', { atMs: 1 }), false);
    const holders = (mostWaiting?: number) =>
      claims.active([held('n4')], 2, mostWaiting).map(({ holder }) => holder);
    expect(holders(2)).toEqual(['r', 'n1', 'n2', 'n4']);
    expect(holders()).toEqual(['r', 'n1', 'n2', 'n3', 'n4']);
    claims.delete('n1', 'a');
    claims.set(want('n1'), false);
    expect(holders(2)).toEqual(['r', 'n2', 'n3', 'n4']);
  });

  it('end when nobody asks again, and let the next ones be looked at', () => {
    const claims = claimsOf([want('n1'), want('n2', { atMs: 20_000 }), want('n3')]);
    const holders = () => claims.active([], 25_000, 1).map(({ holder }) => holder);
    expect(holders()).toEqual(['n2']);
    claims.delete('n2', 'a');
    expect(holders()).toEqual([]);
  });

  it('are of one purpose at a time', () => {
    const claims = claimsOf([want('n1'), want('n1', { purpose: 'pull' })]);
    expect(claims.active([], 1)).toMatchObject([{ holder: 'n1', purpose: 'pull' }]);
  });

  it('go with their distribution', () => {
    const claims = claimsOf([want('n1'), want('n2', { uid: 'b' })]);
    claims.remove('a');
    expect(claims.active([], 1)).toMatchObject([{ holder: 'n2' }]);
  });

  it('of nodes behind as many as there are connections change no share of those in turn', () => {
    const rates = fc.integer({ min: WORTH_A_TURN, max: 1e7 });
    const limits = fc.record({
      windowBytes: fc.integer({ min: 1e5, max: 1e10 }),
      connections: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(
        fc.array(rates, { minLength: 1, maxLength: 200 }),
        fc.array(fc.integer({ min: 1, max: 1e10 }), { maxLength: 3 }),
        fc.nat(5),
        limits,
        (topUps, pulls, holding, among) => {
          const nodes = topUps.map((rate, at) => want(`n${at}`, { wantRateBytesPerSecond: rate }));
          const pullers = pulls.map((rate, at) =>
            want(`r${at}`, {
              purpose: 'pull',
              wantRateBytesPerSecond: rate,
              wantConnections: 8,
            }),
          );
          const claims = claimsOf([...nodes, ...pullers]);
          const leases = nodes.slice(0, holding).map(({ holder }) => held(holder));
          const all = sharesByPurpose(claims.active(leases, 1), among);
          const first = sharesByPurpose(claims.active(leases, 1, among.connections), among);
          for (const { holder } of nodes) {
            const id = claimId(holder, 'a');
            const [share, before] = [first.get(id), all.get(id)];
            expect(share?.connections).toBe(before?.connections);
            if (before === undefined || share === undefined) continue;
            expect(share.rateBytesPerSecond).toBeCloseTo(before.rateBytesPerSecond, 3);
          }
        },
      ),
    );
  });
});
