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
    ['nothing', {}, 'add one'],
    ['half of basic authentication', { username: 'me' }, 'add one'],
    ['a line that is no header', { headers: 'hidden-value' }, 'correct it'],
    ['a header that Sluice sets', { headers: 'Range: hidden-value' }, 'remove it'],
    ['too many headers', { headers: 'X: hidden-value\n'.repeat(33) }, 'remove some'],
    ['a token with a line break', { token: 'hidden-value\r\nX: y' }, 'write printable ASCII'],
  ])('is refused with %s, without telling what it holds', (_name, values, remedy) => {
    const refusal = () => headersOf('cdn', secret(values as Record<string, string>));
    expect(refusal).toThrow(/Secret 'cdn'/);
    expect(refusal).toThrow(`; ${remedy}`);
    expect(refusal).not.toThrow(/hidden-value/);
  });
});
