import { describe, expect, it } from 'vitest';
import { headersOf } from './credentials.ts';

function secret(values: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
  );
}

describe('a Secret for the origin', () => {
  it('gives a bearer token, basic authentication, or headers', () => {
    expect(headersOf('s', secret({ token: 'abc\n' }))).toEqual({ authorization: 'Bearer abc' });
    expect(headersOf('s', secret({ username: 'me', password: 'p' }))).toEqual({
      authorization: 'Basic bWU6cA==',
    });
    expect(headersOf('s', secret({ headers: 'X-Api-Key: k\nAccept: a/b\n' }))).toEqual({
      'x-api-key': 'k',
      accept: 'a/b',
    });
  });

  it.each([
    ['nothing', {}],
    ['half of basic authentication', { username: 'me' }],
    ['a line that is no header', { headers: 'hidden-value' }],
    ['a header that Sluice sets', { headers: 'Range: hidden-value' }],
    ['a token with a line break', { token: 'hidden-value\r\nX: y' }],
  ])('is refused with %s, without telling what it holds', (_name, values) => {
    const refusal = () => headersOf('cdn', secret(values as Record<string, string>));
    expect(refusal).toThrow(/Secret 'cdn'/);
    expect(refusal).not.toThrow(/hidden-value/);
  });
});
