import { describe, expect, it } from 'vitest';
import { matchesAffinity } from './affinity.ts';

const LABELS = { zone: 'a', gpus: '8', name: 'n1', big: '9007199254740993' };

describe('an expression of node affinity', () => {
  it.each([
    ['zone', 'In', ['a', 'b'], true],
    ['zone', 'In', ['b'], false],
    ['rack', 'In', ['a'], false],
    ['zone', 'NotIn', ['a'], false],
    ['zone', 'NotIn', ['b'], true],
    ['rack', 'NotIn', ['a'], true],
    ['zone', 'Exists', undefined, true],
    ['rack', 'Exists', undefined, false],
    ['constructor', 'Exists', undefined, false],
    ['zone', 'DoesNotExist', undefined, false],
    ['rack', 'DoesNotExist', undefined, true],
    ['gpus', 'Gt', ['7'], true],
    ['gpus', 'Gt', ['8'], false],
    ['gpus', 'Lt', ['10'], true],
    ['gpus', 'Lt', ['8'], false],
    ['name', 'Gt', ['0'], false],
    ['rack', 'Lt', ['10'], false],
    ['big', 'Gt', ['9007199254740992'], true],
  ] as const)('%s %s %j is %s', (key, operator, values, holds) => {
    const expression = { key, operator, ...(values !== undefined && { values: [...values] }) };
    const affinity = { nodeSelectorTerms: [{ matchExpressions: [expression] }] };
    expect(matchesAffinity(LABELS, affinity)).toBe(holds);
  });
});

describe('node affinity', () => {
  const is = (key: string, value: string) => ({ key, operator: 'In' as const, values: [value] });

  it('matches when all expressions of one term do', () => {
    const terms = (...list: { matchExpressions: ReturnType<typeof is>[] }[]) => ({
      nodeSelectorTerms: list,
    });
    const both = { matchExpressions: [is('zone', 'a'), is('gpus', '8')] };
    const half = { matchExpressions: [is('zone', 'a'), is('gpus', '4')] };
    expect(matchesAffinity(LABELS, terms(both))).toBe(true);
    expect(matchesAffinity(LABELS, terms(half))).toBe(false);
    expect(matchesAffinity(LABELS, terms(half, both))).toBe(true);
  });

  it('matches every node when there is none', () => {
    expect(matchesAffinity(LABELS, undefined)).toBe(true);
  });
});
