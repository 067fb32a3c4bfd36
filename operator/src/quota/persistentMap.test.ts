import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PersistentMap } from './persistentMap.ts';

/** FNV-1a gives both the same hash. */
const COLLIDING = ['costarring', 'liquid'];

describe('a persistent map', () => {
  it('is what a Map is after the same changes, and so is every one before', () => {
    // Few keys, so that they come, change and go; many, so that there are several levels.
    const key = fc.oneof(
      fc.constantFrom(...COLLIDING),
      fc.nat(40).map((at) => `few-${at}`),
      fc.nat(4_000).map((at) => `many-${at}`),
    );
    const change = fc.record({ key, value: fc.nat(), isRemoval: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 300 }), (changes) => {
        let map = PersistentMap.empty<number>();
        const plain = new Map<string, number>();
        const earlier: { map: PersistentMap<number>; was: [string, number][] }[] = [];
        for (const { key, value, isRemoval } of changes) {
          if (isRemoval) plain.delete(key);
          else plain.set(key, value);
          map = isRemoval ? map.without(key) : map.with(key, value);
          expect(map.get(key)).toBe(plain.get(key));
          expect(map.size).toBe(plain.size);
          if (earlier.length < 20) earlier.push({ map, was: sorted(plain) });
        }
        expect(sorted(map)).toEqual(sorted(plain));
        for (const { map, was } of earlier) expect(sorted(map)).toEqual(was);
      }),
    );
  });

  it('has its entries in the same order, whatever else was in it once', () => {
    const entries = Array.from({ length: 500 }, (_, at) => [`key-${at}`, at] as const);
    const plain = PersistentMap.of(entries);
    let other = PersistentMap.of(entries.toReversed());
    for (let at = 500; at < 2_000; at += 1) other = other.with(`key-${at}`, at);
    for (let at = 500; at < 2_000; at += 1) other = other.without(`key-${at}`);
    expect([...other]).toEqual([...plain]);
    expect([...other.keys()]).toEqual([...plain.keys()]);
    expect([...other.values()]).toEqual([...plain.values()]);
  });

  it('keeps keys apart whose hashes are equal', () => {
    const [one = '', two = ''] = COLLIDING;
    const both = PersistentMap.of([
      [one, 1],
      [two, 2],
    ]);
    expect([both.get(one), both.get(two)]).toEqual([1, 2]);
    expect([both.without(one).get(one), both.without(one).get(two)]).toEqual([undefined, 2]);
    expect([both.without(two).get(one), both.without(two).get(two)]).toEqual([1, undefined]);
    expect(both.with(one, 3).get(one)).toBe(3);
    expect(both.with(one, 3).size).toBe(2);
  });
});

function sorted(map: ReadonlyMap<string, number>): [string, number][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
