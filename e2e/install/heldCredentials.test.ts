import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { heldCredentials } from './heldCredentials.ts';
import { secretsIn } from './runRecord.ts';

const found = (text: string) => heldCredentials(new Map([['log', text]]), ['of-the-origin']);

/** With upper case, lower case and digits, as all but a few have. */
function random(encoding: 'base64' | 'base64url'): string {
  for (;;) {
    const text = randomBytes(32).toString(encoding);
    if (/[A-Z]/.test(text) && /[a-z]/.test(text) && /\d/.test(text)) return text;
  }
}

function base64url(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

const token = `${base64url({ alg: 'RS256', kid: 'one' })}.${base64url({ sub: 'system:a:b' })}`;
const session = `${base64url({ pod: 'sluice-agent-1' })}.${random('base64url')}`;
const certificate = `-----BEGIN CERTIFICATE-----\n${random('base64')}\n-----END CERTIFICATE-----`;

describe('a text', () => {
  it.each([
    ['a secret that is known', '{"message":"401 to of-the-origin"}', /a known secret/],
    ['a token of a service account', `said ${token}.${random('base64url')}`, /: token/],
    ['a session token', JSON.stringify({ session }), /: token/],
    ['an authorization header', 'Authorization: Bearer 0123456789abcdef', /: authorization/],
    ['a private key', '-----BEGIN EC PRIVATE KEY-----', /: private key/],
    ['32 random bytes', JSON.stringify({ secret: random('base64') }), /: random bytes/],
    ['32 random bytes for URLs', `?token=x&y=${random('base64url')} `, /: random bytes/],
  ])('with %s is found', (_what, text, expected) => {
    expect(found(text).join()).toMatch(expected);
  });

  it.each([
    ['a digest', `sha256:${'0a'.repeat(32)} ${'0a'.repeat(20)}`],
    ['the names of pods', 'pod/sluice-relay-zone-a-9ef8666a-79b47dff9d-pc8kl'],
    ['a certificate', JSON.stringify({ ca: certificate })],
    ['words', 'requiredDuringSchedulingIgnoredDuringExecution: a bearer token is missing'],
  ])('with %s holds nothing', (_what, text) => {
    expect(found(text)).toEqual([]);
  });
});

describe('the Secrets that there have been', () => {
  const change = (data: Readonly<Record<string, string>>) => {
    const encoded = Object.entries(data).map(([key, value]) => [key, btoa(value)]);
    return JSON.stringify({ type: 'ADDED', object: { data: Object.fromEntries(encoded) } });
  };

  it('are known line by line and as they are kept, but for certificates and short words', () => {
    const line = 'abcdefghijklmnopqrstuvwxyz';
    const key = `-----BEGIN PRIVATE KEY-----\n${line}\nshort\n-----END PRIVATE KEY-----\n`;
    const found = secretsIn(change({ 'ca.key': key, 'ca.crt': 'certificate' }));
    expect(found.toSorted()).toEqual([btoa(key), line].toSorted());
    const inJson = secretsIn(change({ current: JSON.stringify({ privateKey: key }) }));
    expect(inJson).toContain(line);
    expect(inJson).not.toContain('privateKey');
  });

  it('are known though a line was cut', () => {
    const whole = change({ token: 'the-token' });
    expect(secretsIn(['', whole.slice(0, -3), '', whole, whole, ''].join('\n'))).toEqual([
      'the-token',
    ]);
  });
});
