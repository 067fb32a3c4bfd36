import { describe, expect, it } from 'vitest';
import { sharesInBytes } from './namespaceShares.ts';

describe('the shares of namespaces', () => {
  it.each([
    ['*=100%', '*=100%'],
    ['*=50%,team=30%', '*=50%,team=30%'],
    ['*=0,team=4Pi', '*=0,team=4503599627370496'],
    ['*=0%,team-a=200Gi,team-b=5G', '*=0%,team-a=214748364800,team-b=5000000000'],
  ])('%s are told to agents as %s', (text, told) => {
    expect(sharesInBytes(text)).toBe(told);
  });

  it.each([
    '',
    '*=0.5',
    '*=5Pi',
    '*=16Pi',
    'team=30%',
    '*',
    '*=',
    '*=101%',
    '*=half',
    '*=50%,*=60%',
    '*=50%,Team=1',
    '*=1%=2',
  ])('are not taken from "%s"', (text) => {
    expect(sharesInBytes(text)).toBeUndefined();
  });
});
