import { describe, expect, it } from 'vitest';
import { classifyError, FAILURES, failure, requeueMs } from './failures.ts';
import { NODE_FAILURES } from './nodeFailures.ts';

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
    const error = { code: 'HttpStatus', message: 'it said no', httpStatus };
    expect(classifyError(error)).toMatchObject({ reason, kind });
    expect(classifyError(error).message).toMatch(/^it said no/);
  });

  it.each([
    ['Timeout', 'SourceUnavailable', 'retry'],
    ['OriginBusy', 'OriginBusy', 'wait'],
    ['QuotaExhausted', 'QuotaExhausted', 'wait'],
    ['OriginRequired', 'OriginRequired', 'stall'],
    ['TooLarge', 'SourceTooLarge', 'stall'],
    ['SpansOrigins', 'SourceSpansOrigins', 'stall'],
    ['InvalidFiles', 'InvalidSource', 'stall'],
    ['AddressForbidden', 'SourceAddressForbidden', 'stall'],
    ['SecretNotFound', 'SecretNotFound', 'stall'],
    ['SecretInvalid', 'SecretInvalid', 'stall'],
    ['DatabaseUnavailable', 'DatabaseUnavailable', 'wait'],
    ['SomethingNew', 'SourceUnavailable', 'retry'],
  ])('with code %s is %s: %s', (code, reason, kind) => {
    expect(classifyError({ code, message: 'm' })).toMatchObject({ reason, kind });
  });

  it.each([
    [
      { message: '404 from cdn', httpStatus: 404 },
      '404 from cdn; put the file there, or correct spec.source.url',
    ],
    [
      { code: 'OriginBusy', message: 'there is no room' },
      'there is no room; wait, or raise spec.limits of its Origin',
    ],
  ])('tells what to do after what happened: %j', (error, message) => {
    expect(classifyError(error).message).toBe(message);
  });
});

describe('what follows from a failure', () => {
  it('is another try after a delay that grows up to a bound', () => {
    const delays = [1, 2, 3, 10].map((count) => requeueMs({ kind: 'retry' }, count, 1, 0));
    expect(delays).toEqual([1000, 2000, 4000, 30_000]);
  });

  it('is no try before it can pass, and yet one now and then: a limit may be raised', () => {
    const exhausted = (untilMs: number) => failure('QuotaExhausted', 'used up', untilMs);
    expect(requeueMs(exhausted(20_000), 1, 1, 10_000)).toBe(10_000);
    expect(requeueMs(exhausted(1e9), 1, 1, 10_000)).toBe(30_000);
    expect(requeueMs(exhausted(5_000), 1, 1, 10_000)).toBe(1_000);
  });

  it('is never a remedy that ends like a sentence, or is in parts: messages are joined by semicolons', () => {
    const rules = [...Object.values(FAILURES), ...Object.values(NODE_FAILURES)];
    for (const { remedy = '' } of rules) expect(remedy).not.toMatch(/\.$|^[A-Z]|;/);
  });
});
