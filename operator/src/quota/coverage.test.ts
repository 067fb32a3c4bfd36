import { describe, expect, it } from 'vitest';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { coveringPolicy, hostOf } from './coverage.ts';

function policyOf(name: string, ...hosts: string[]): OriginPolicy {
  return {
    name,
    hosts,
    limits: {},
    closeAfterSeconds: 1,
    allowPrivateAddresses: false,
    allowAgentCredentials: false,
  };
}

describe('the host of a URL', () => {
  it.each([
    ['http://cdn.example.com/a', 'cdn.example.com:80'],
    ['https://CDN.example.com/a', 'cdn.example.com:443'],
    ['https://cdn.example.com.:8443/', 'cdn.example.com:8443'],
    ['http://user:secret@cdn.example.com/', 'cdn.example.com:80'],
    ['http://[2001:DB8::1]:8080/', '[2001:db8::1]:8080'],
    ['http://0x7f.1/', '127.0.0.1:80'],
  ])('%s is %s', (url, host) => {
    expect(hostOf(url)).toBe(host);
  });
});

describe('the Origin that covers a URL', () => {
  const policies = [
    policyOf('name', 'cdn.example.com', '[2001:db8::1]'),
    policyOf('port', 'cdn.example.com:8443'),
  ];

  it.each([
    ['http://cdn.example.com/', 'name'],
    ['https://cdn.example.com.:9000/', 'name'],
    ['https://cdn.example.com:8443/', 'port'],
    ['http://[2001:db8::1]:81/', 'name'],
    ['http://example.com/', undefined],
    ['http://a.cdn.example.com/', undefined],
  ])('of %s is %s', (url, name) => {
    expect(coveringPolicy(url, policies)?.name).toBe(name);
  });
});
