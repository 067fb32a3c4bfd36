import { describe, expect, it } from 'vitest';
import { type Claims, isDispute, wrongPullers } from './disputes.ts';

const claims = (of: Readonly<Record<string, string[]>>): Claims =>
  new Map(Object.entries(of).map(([hash, pullers]) => [hash, new Set(pullers)]));

describe('a dispute', () => {
  it.each<[string, Record<string, string[]>, boolean]>([
    ['two hashes', { aa: ['one'], bb: ['two'] }, true],
    ['one hash of two pullers', { aa: ['one', 'two'] }, false],
    ['nothing that verifies', {}, false],
  ])('is there with %s: it is so', (_case, of, is) => {
    expect(isDispute(claims(of))).toBe(is);
  });

  it.each<[string, Record<string, string[]>, string[]]>([
    ['the one that differs', { aa: ['one'], bb: ['two'] }, ['two']],
    ['most of them, when one is right', { aa: ['one'], bb: ['two', 'three'] }, ['two', 'three']],
    ['all, when none is right', { cc: ['one'], bb: ['two'] }, ['one', 'two']],
  ])('is lost by %s', (_case, of, wrong) => {
    expect(wrongPullers(claims(of), 'aa')).toEqual(wrong);
  });
});
