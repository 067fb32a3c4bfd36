import { describe, expect, it } from 'vitest';
import { fileNameOf } from './source.ts';

describe('the name of the file', () => {
  it.each([
    ['http://h/a/model.bin', 'model.bin'],
    ['http://h/model.bin?sig=a/b', 'model.bin'],
    ['http://h/a%20b.bin', 'a b.bin'],
    ['http://h/a%2Fb', 'a%2Fb'],
    ['http://h/%00', '%00'],
    ['http://h/100%', '100%'],
    ['http://h/', undefined],
    ['http://h', undefined],
    ['http://h/a/', undefined],
    ['http://h/a/%2e%2e', undefined],
    ['ftp://h/a', undefined],
  ])('of %s is %s', (url, name) => {
    expect(fileNameOf(url)).toBe(name);
  });
});
