import { describe, expect, it } from 'vitest';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import {
  coveringPolicy,
  hostOf,
  pathOf,
  policiesOver,
  regionName,
  regionNamed,
  regionOf,
} from './coverage.ts';

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

describe('the path of a URL', () => {
  it.each([
    ['http://h', ''],
    ['http://h/', ''],
    ['http://h/a/b.bin?x=/c', '/a/b.bin'],
    ['http://h//a///b/', '/a/b'],
    ['http://h/%61/%62', '/a/b'],
    ['http://h/a%2Fb', '/a/b'],
    ['http://h/x/../a', '/a'],
    ['http://h/x/%2e%2E/a', '/a'],
    ['http://h/x%2F..%2Fa', '/a'],
    ['http://h/%E0%A4%A', '/%E0%A4%A'],
  ])('%s is %s', (url, path) => {
    expect(pathOf(url)).toBe(path);
  });
});

describe('the Origin that covers a URL', () => {
  const policies = [
    policyOf('name', 'cdn.example.com', '[2001:db8::1]'),
    policyOf('port', 'cdn.example.com:8443', 'cdn.example.com:9443/models'),
    policyOf('models', 'cdn.example.com/models', 'other.example.com/a/'),
    policyOf('deep', 'cdn.example.com/models/big'),
  ];

  it.each([
    ['http://cdn.example.com/', 'name'],
    ['https://cdn.example.com.:9000/', 'name'],
    ['https://cdn.example.com:8443/', 'port'],
    ['http://[2001:db8::1]:81/', 'name'],
    ['http://example.com/', undefined],
    ['http://a.cdn.example.com/', undefined],
    ['http://cdn.example.com/models/a', 'models'],
    ['http://cdn.example.com/models', 'models'],
    ['http://cdn.example.com/modelsx', 'name'],
    ['http://cdn.example.com/models/big/x', 'deep'],
    ['http://cdn.example.com/x/../models/%62ig/x', 'deep'],
    // The longest prefix comes before the port.
    ['http://cdn.example.com:8443/models/a', 'models'],
    ['http://cdn.example.com:9443/models/a', 'port'],
    ['http://cdn.example.com:9443/models/big/a', 'deep'],
    ['http://other.example.com/a/x', 'models'],
    ['http://other.example.com/b', undefined],
  ])('of %s is %s', (url, name) => {
    expect(coveringPolicy(url, policies)?.name).toBe(name);
  });
});

describe('what is counted together', () => {
  const url = (path: string) => `http://h${path}`;
  const nameOf = (path: string, policies: readonly OriginPolicy[]) =>
    regionName(regionOf(url(path), policies));
  const whole = policyOf('whole', 'h');
  const a = policyOf('a', 'h/a');
  const ab = policyOf('ab', 'h/a/b');

  it.each<[string, OriginPolicy[], string]>([
    ['/x', [], 'h:80'],
    ['/x', [whole], 'h:80'],
    ['/x', [whole, a], 'h:80 !/a'],
    ['/a/x', [whole, a], 'h:80/a'],
    ['/a/x', [whole, a, ab], 'h:80/a !/a/b'],
    ['/x', [whole, a, ab], 'h:80 !/a'],
    ['/x', [ab, policyOf('c', 'h:80/c')], 'h:80 !/a/b !/c'],
  ])('%s under %o is %s', (path, policies, name) => {
    expect(nameOf(path, policies)).toBe(name);
    expect(regionName(regionNamed(name))).toBe(name);
  });

  it.each<[string, OriginPolicy[], (string | undefined)[]]>([
    ['h:80', [], [undefined]],
    ['h:80', [whole], ['whole']],
    ['h:80 !/a', [whole, a], ['whole']],
    ['h:80/a', [whole, a], ['a']],
    // It was asked before the prefix had an Origin of its own: both count it.
    ['h:80', [whole, a], ['whole', 'a']],
    ['h:80', [a], [undefined, 'a']],
    ['h:80/a', [whole, a, ab], ['a', 'ab']],
    // The Origin of the prefix is gone.
    ['h:80/a', [whole], ['whole']],
    ['h:80 !/a', [whole], ['whole']],
    ['h:80/a', [], [undefined]],
    ['h:80/a !/a/b', [whole, ab], ['whole']],
    ['other:80', [whole, a], [undefined]],
  ])('%s counts under %o: %o', (name, policies, names) => {
    const found = policiesOver(regionNamed(name), policies).map((policy) => policy?.name);
    expect(found).toEqual(names);
  });

  it('is never less than it is, with more prefixes than a name holds', () => {
    const many = Array.from({ length: 80 }, (_, at) => policyOf(`p${at}`, `h/p${100 + at}`));
    const region = regionOf(url('/x'), many);
    expect(region.without).toHaveLength(64);
    const names = policiesOver(region, many).map((policy) => policy?.name);
    expect(names).toEqual([undefined, ...many.slice(64).map(({ name }) => name)]);
  });
});
