import { expect, it } from 'vitest';
import { NodeRows } from './nodeRows.ts';

it('counts what it has, and forgets a node or all of a distribution', () => {
  const rows = new NodeRows<number>();
  for (const uid of ['a', 'b']) {
    for (const node of ['one', 'two']) rows.set({ uid, node }, 1);
  }
  rows.set({ uid: 'a', node: 'one' }, 2);
  expect([rows.size, rows.get({ uid: 'a', node: 'one' })]).toEqual([4, 2]);
  rows.delete({ uid: 'a', node: 'one' });
  rows.delete({ uid: 'a', node: 'one' });
  rows.delete({ uid: 'c', node: 'one' });
  expect([rows.size, rows.values()]).toEqual([3, [1, 1, 1]]);
  rows.deleteAll('b');
  rows.deleteAll('b');
  expect([rows.size, rows.get({ uid: 'b', node: 'two' })]).toEqual([1, undefined]);
});
