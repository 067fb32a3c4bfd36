import { describe, expect, it } from 'vitest';
import { parseShares, shareBytes } from './namespaceShares.ts';

const GIB = 2 ** 30;

describe('the shares of namespaces', () => {
  it.each<[string, string, number]>([
    ['*=100%', 'any', Number.POSITIVE_INFINITY],
    ['*=50%', 'any', 50 * GIB],
    ['*=50%,team=30%', 'team', 30 * GIB],
    ['*=50%,team=30%', 'default', 50 * GIB],
    ['*=0%,team=5', 'other', 0],
    ['*=0%,team=5', 'team', 5],
    ['team=100%,*=1%', 'team', Number.POSITIVE_INFINITY],
    ['*=33%', 'any', Math.floor(33 * GIB)],
  ])('by %s, "%s" may take %d bytes of 100 GiB', (text, namespace, bytes) => {
    expect(shareBytes(parseShares(text)!, namespace, 100 * GIB)).toBe(bytes);
  });

  it.each([
    '',
    '*',
    '*=',
    '*=101%',
    '*=-1%',
    '*=5Gi',
    '*=50%,',
    'team=50%',
    '*=50%,*=60%',
    '*=50%,a=1,a=2',
    '*=50%,Team=1',
    '*=50%=1',
    '*=99999999999999999',
  ])('are not taken from "%s"', (text) => {
    expect(parseShares(text)).toBeUndefined();
  });
});
