import { expect, it } from 'vitest';
import { NestedMap } from './nestedMap.ts';

it('counts what it has, and forgets one value or all of an outer key', () => {
  const rows = new NestedMap<string, number>();
  for (const uid of ['a', 'b']) {
    for (const node of ['one', 'two']) rows.set(uid, node, 1);
  }
  rows.set('a', 'one', 2);
  expect([rows.size, rows.get('a', 'one'), rows.of('a').size]).toEqual([4, 2, 2]);
  rows.delete('a', 'one');
  rows.delete('a', 'one');
  rows.delete('c', 'one');
  expect([rows.size, [...rows.values()]]).toEqual([3, [1, 1, 1]]);
  rows.deleteAll('b');
  rows.deleteAll('b');
  expect([rows.size, rows.get('b', 'two'), rows.of('b').size]).toEqual([1, undefined, 0]);
  rows.clear();
  expect([rows.size, [...rows.values()]]).toEqual([0, []]);
});

it('may lose values while they are looked at', () => {
  const rows = new NestedMap<number, string>();
  for (const epoch of [1, 2, 3]) rows.set('a', epoch, `a${epoch}`);
  rows.set('b', 1, 'b1');
  const seen: string[] = [];
  for (const value of rows.values()) {
    seen.push(value);
    if (value === 'a1') rows.delete('a', 2);
    if (value === 'a3') rows.deleteAll('a');
  }
  expect(seen).toEqual(['a1', 'a3', 'b1']);
});
