import { expect, it } from 'vitest';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { topUpBytes } from './topUp.ts';

const delivery = { topUp: ['Origin'], transport: 'Hybrid' } as const;

it('is a share of what all nodes together are to have', () => {
  const record = aRecord();
  const nodes = ['a', 'b', 'c'].map((name) => ({ name, domain: 'zone' }));
  const plan = aPlanOf(record, { delivery, headers: {}, nodes, maxOriginShare: 0.1 });
  expect(topUpBytes(plan, undefined)).toBe(Math.floor(0.3 * record.source.sizeBytes));
  expect(topUpBytes({ ...plan, maxOriginShare: 0 }, undefined)).toBe(0);
  expect(topUpBytes({ ...plan, lacksCredentials: true }, undefined)).toBeUndefined();
  expect(topUpBytes({ ...plan, headers: { authorization: 'x' } }, undefined)).toBeUndefined();
});
