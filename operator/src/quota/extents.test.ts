import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExtentPool, extentsOf, piecesOf } from './extents.ts';

function bitfieldOf(pieces: readonly number[], count: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(count / 8));
  for (const piece of pieces) bits[piece >> 3] = (bits[piece >> 3] ?? 0) | (128 >> (piece & 7));
  return bits;
}

describe('the pieces that are to be pulled', () => {
  it('are given in file order, each to one', () => {
    const pool = new ExtentPool(10);
    pool.take('a', 3, 0);
    pool.take('b', 4, 0);
    pool.take('a', 2, 0);
    expect(pool.extentsOf('a')).toEqual([
      { first: 0, count: 3 },
      { first: 7, count: 2 },
    ]);
    expect(pool.extentsOf('b')).toEqual([{ first: 3, count: 4 }]);
    expect(pool.free(0)).toBe(1);
  });

  it('come back when their lease is over, except those that are finished', () => {
    const pool = new ExtentPool(6);
    pool.take('a', 4, 0);
    pool.progress('a', 'relay', [{ first: 2, count: 2 }]);
    expect(pool.extentsOf('a')).toEqual([{ first: 2, count: 2 }]);
    pool.release('a');
    pool.take('b', 9, 0);
    expect(pool.extentsOf('b')).toEqual([{ first: 2, count: 4 }]);
  });

  it('stay with a lease whose holder never heard of them, until it is over', () => {
    const pool = new ExtentPool(6);
    pool.take('a', 2, 0, 1);
    pool.take('a', 2, 0, 5);
    pool.progress('a', 'relay', [], 1);
    expect(pool.extentsOf('a')).toEqual([{ first: 2, count: 2 }]);
    expect(pool.isHeld(2)).toBe(false);
    pool.release('a');
    pool.take('b', 9, 0, 6);
    expect(pool.extentsOf('b')).toEqual([{ first: 2, count: 4 }]);
  });

  it('that an answer has named are done when that one was heard', () => {
    const pool = new ExtentPool(4);
    pool.restore('a', [{ first: 0, count: 2 }]);
    pool.progress('a', 'relay', [], 7);
    expect(pool.extentsOf('a')).toEqual([{ first: 0, count: 2 }]);
    pool.named('a', 8);
    pool.progress('a', 'relay', [], 7);
    expect(pool.extentsOf('a')).toEqual([{ first: 0, count: 2 }]);
    pool.progress('a', 'relay', [], 8);
    expect(pool.extentsOf('a')).toEqual([]);
    expect(pool.isHeld(0)).toBe(true);
  });

  it('of a lease from before this leader are done when its holder reports them', () => {
    const pool = new ExtentPool(4);
    pool.restore('a', [{ first: 0, count: 3 }]);
    pool.report('relay', bitfieldOf([0], 4), undefined, 0);
    pool.progress('a', 'relay', [{ first: 2, count: 1 }], 7);
    expect(pool.extentsOf('a')).toEqual([{ first: 1, count: 2 }]);
    // It is from a version that does not say what it has heard.
    pool.progress('a', 'relay', [{ first: 2, count: 1 }]);
    expect(pool.extentsOf('a')).toEqual([{ first: 2, count: 1 }]);
    expect(pool.isHeld(1)).toBe(true);
  });

  it('are not given while others give them, and are when they do not', () => {
    const pool = new ExtentPool(6);
    pool.take('a', 1, 0);
    pool.keep([{ first: 0, count: 4 }]);
    // What was given before is brought all the same.
    expect(pool.extentsOf('a')).toEqual([{ first: 0, count: 1 }]);
    expect(pool.free(0)).toBe(2);
    pool.take('b', 6, 0);
    expect(pool.extentsOf('b')).toEqual([{ first: 4, count: 2 }]);
    pool.keep([]);
    expect(pool.free(0)).toBe(3);
  });

  it('are not given when a relay has them', () => {
    const pool = new ExtentPool(10);
    pool.report('relay', bitfieldOf([0, 1, 9], 10), undefined, 0);
    pool.take('a', 10, 0);
    expect(pool.extentsOf('a')).toEqual([{ first: 2, count: 7 }]);
  });

  it('are given again when the only one who had them is gone and peers bring nothing for a while', () => {
    const pool = new ExtentPool(4);
    pool.report('lost', bitfieldOf([0, 1, 2, 3], 4), undefined, 0);
    pool.report('other', bitfieldOf([3], 4), undefined, 0);
    pool.forget('lost', 1_000);
    expect(pool.free(1_500)).toBe(0);
    pool.report('other', bitfieldOf([3, 0], 4), undefined, 2_000);
    expect(pool.free(3_000)).toBe(0);
    expect(pool.free(3_500)).toBe(2);
  });

  it("are nobody's business when a process that never had any is gone", () => {
    const pool = new ExtentPool(4);
    pool.report('relay', bitfieldOf([0], 4), undefined, 0);
    expect(pool.forget('stranger', 0)).toBe(false);
    expect(pool.forget('relay', 0)).toBe(true);
    expect(pool.forget('relay', 0)).toBe(false);
  });

  it('are left to the nodes that have them when their relay is gone, while there is something else', () => {
    const pool = new ExtentPool(8);
    pool.report('lost', bitfieldOf([0, 1, 2, 3], 8), undefined, 0);
    pool.report('other', bitfieldOf([], 8), bitfieldOf([0, 1], 8), 0);
    pool.forget('lost', 0);
    expect(pool.free(1_500)).toBe(6);
    pool.take('a', 8, 1_500);
    expect(pool.extentsOf('a')).toEqual([{ first: 2, count: 6 }]);
    expect(pool.free(11_499)).toBe(0);
    pool.report('other', bitfieldOf([0], 8), bitfieldOf([0, 1], 8), 11_499);
    expect(pool.free(11_500)).toBe(0);
    expect(pool.free(21_499)).toBe(1);
  });

  it('are given again at once when the nodes that had them are gone, too', () => {
    const pool = new ExtentPool(2);
    pool.report('lost', bitfieldOf([0, 1], 2), undefined, 0);
    pool.report('other', bitfieldOf([], 2), bitfieldOf([0, 1], 2), 0);
    pool.forget('lost', 0);
    expect(pool.free(1_500)).toBe(0);
    pool.report('other', bitfieldOf([], 2), bitfieldOf([1], 2), 1_600);
    expect(pool.free(1_600)).toBe(1);
  });

  it('fit into a certificate, however many holes there are', () => {
    const pool = new ExtentPool(1_000);
    const even = Array.from({ length: 500 }, (_, at) => 2 * at);
    pool.report('relay', bitfieldOf(even, 1_000), undefined, 0);
    pool.take('a', 1_000, 0);
    expect(pool.extentsOf('a')).toHaveLength(200);
    expect(pool.free(0)).toBe(300);
  });

  it('are free as long as no lease has them and nobody held them, whatever the order of events', () => {
    const piece = fc.nat(39);
    const lease = fc.constantFrom('a', 'b', 'c');
    const pieces = fc.uniqueArray(piece, { maxLength: 12 });
    const event = fc.oneof(
      fc.record({ kind: fc.constant('take' as const), lease, count: fc.nat(15) }),
      fc.record({ kind: fc.constant('progress' as const), lease, pieces }),
      fc.record({ kind: fc.constant('giveBack' as const), lease, pieces }),
      fc.record({ kind: fc.constant('restore' as const), lease, pieces }),
      fc.record({ kind: fc.constant('report' as const), lease, pieces }),
      fc.record({ kind: fc.constant('release' as const), lease }),
      fc.record({ kind: fc.constant('forget' as const), lease }),
      fc.record({ kind: fc.constant('forgetHeld' as const) }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const pool = new ExtentPool(40);
        const assigned = new Map(['a', 'b', 'c'].map((name) => [name, new Set<number>()]));
        const held = new Map(['a', 'b', 'c'].map((name) => [name, new Set<number>()]));
        const of = (sets: typeof held, name: string) => sets.get(name) ?? new Set();
        const isIn = (sets: typeof held, each: number) =>
          [...sets.values()].some((set) => set.has(each));
        const freePieces = () =>
          Array.from({ length: 40 }, (_, each) => each).filter(
            (each) => !isIn(assigned, each) && !isIn(held, each),
          );
        let nowMs = 0;
        for (const each of events) {
          // So late that nobody waits any more for what a lost one had.
          nowMs += 20_000;
          if (each.kind === 'take') {
            for (const taken of freePieces().slice(0, each.count)) {
              of(assigned, each.lease).add(taken);
            }
            pool.take(each.lease, each.count, nowMs);
          } else if (each.kind === 'progress') {
            const open = new Set(each.pieces);
            for (const done of [...of(assigned, each.lease)].filter((one) => !open.has(one))) {
              of(assigned, each.lease).delete(done);
              of(held, each.lease).add(done);
            }
            pool.progress(each.lease, each.lease, extentsOf(open));
          } else if (each.kind === 'giveBack') {
            for (const back of each.pieces) of(assigned, each.lease).delete(back);
            pool.giveBack(each.lease, each.pieces);
          } else if (each.kind === 'restore') {
            const mine = each.pieces.filter((one) => !isIn(assigned, one));
            for (const one of mine) of(assigned, each.lease).add(one);
            pool.restore(each.lease, extentsOf(new Set(mine)));
          } else if (each.kind === 'report') {
            for (const one of each.pieces) of(held, each.lease).add(one);
            pool.report(each.lease, bitfieldOf(each.pieces, 40), undefined, nowMs);
          } else if (each.kind === 'release') {
            of(assigned, each.lease).clear();
            pool.release(each.lease);
          } else if (each.kind === 'forget') {
            of(held, each.lease).clear();
            pool.forget(each.lease, nowMs);
          } else {
            for (const set of held.values()) set.clear();
            pool.forgetHeld();
          }
          expect(pool.free(nowMs + 19_999)).toBe(freePieces().length);
          for (const [name, set] of assigned) expect(pool.extentsOf(name)).toEqual(extentsOf(set));
        }
      }),
    );
  });

  it('are the same as runs and as a set', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(300)), (pieces) => {
        const set = new Set(pieces);
        const runs = extentsOf(set);
        expect([...piecesOf(runs)].sort((a, b) => a - b)).toEqual(pieces.sort((a, b) => a - b));
        for (const [at, { first }] of runs.entries()) {
          const before = runs[at - 1];
          if (before !== undefined) expect(before.first + before.count).toBeLessThan(first);
        }
      }),
    );
  });
});
