import { describe, expect, it } from 'vitest';
import { classifySourceError, fileNameOf, resolveBackoffMs } from './source.ts';

describe('a failed source', () => {
  it.each([
    [404, 'SourceNotFound', 'stall'],
    [410, 'SourceNotFound', 'stall'],
    [401, 'SourceForbidden', 'stall'],
    [403, 'SourceForbidden', 'stall'],
    [500, 'SourceUnavailable', 'retry'],
    [503, 'SourceUnavailable', 'retry'],
    [429, 'SourceUnavailable', 'retry'],
    [400, 'SourceRefused', 'stall'],
  ])('with status %i is %s: %s', (httpStatus, reason, kind) => {
    const error = { code: 'HttpStatus', message: 'm', httpStatus };
    expect(classifySourceError(error)).toEqual({ reason, kind, message: 'm' });
  });

  it.each([
    ['Timeout', 'SourceUnavailable', 'retry'],
    ['QuotaExhausted', 'OriginBusy', 'wait'],
    ['OriginRequired', 'OriginRequired', 'stall'],
    ['AddressForbidden', 'SourceAddressForbidden', 'stall'],
    ['SomethingNew', 'SourceUnavailable', 'retry'],
  ])('with code %s is %s: %s', (code, reason, kind) => {
    expect(classifySourceError({ code, message: 'm' })).toMatchObject({ reason, kind });
  });

  it('is tried again after a delay that grows up to a bound', () => {
    const delays = [1, 2, 3, 10].map((failures) => resolveBackoffMs('retry', failures, 1));
    expect(delays).toEqual([1000, 2000, 4000, 30_000]);
  });
});

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
