import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PullError } from '@sluice/engine/session/originAnswer.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { LeaseError } from '../quota/leases.ts';
import { fileOf, type ProbeCharger, redirected } from './sourceAsking.ts';
import { resolveSource } from './sourceResolver.ts';

const NEVER = new AbortController().signal;
let server: Server;
let port: number;
let requests = 0;

beforeAll(async () => {
  server = createServer((_request, response) => {
    requests += 1;
    response.end('never to be seen');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
afterAll(() => server.close());

const free: ProbeCharger = {
  charge: async (_request, signal, use) => (await use(signal, () => {})).result,
};

function resolve(url: string, charger: ProbeCharger = free, signal: AbortSignal = NEVER) {
  return resolveSource({ url, headers: {}, uid: 'u' }, [], charger, signal);
}

describe('a source', () => {
  it('at an address that only this host has is not asked, by number or by name', async () => {
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '169.254.169.254']) {
      await expect(resolve(`http://${host}:${port}/file`), host).rejects.toMatchObject({
        code: 'AddressForbidden',
        message: expect.stringContaining('; name another host: Sluice never asks such addresses'),
      });
    }
    expect(requests).toBe(0);
  });

  it('at a private address is not asked without an Origin that allows it', async () => {
    await expect(resolve('http://10.1.2.3/file')).rejects.toMatchObject({
      code: 'AddressForbidden',
      message: expect.stringContaining(
        '; create an Origin for this host with spec.allowPrivateAddresses: true',
      ),
    });
  });

  it('that answers later than its lease lives is late, and one without a lease waits', async () => {
    const refuse = (code: 'LeaseEnded' | 'NotReady'): ProbeCharger => ({
      charge: () => Promise.reject(new LeaseError(code, 'no')),
    });
    const url = 'http://203.0.113.1/file';
    await expect(resolve(url, refuse('LeaseEnded'))).rejects.toMatchObject({ code: 'Timeout' });
    await expect(resolve(url, refuse('NotReady'))).rejects.toMatchObject({
      code: 'OriginBusy',
    });
  });

  it('that its limits leave no room for is given up after a while, and named', async () => {
    const full: ProbeCharger = {
      charge: (_request, signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
    };
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const resolving = expect(resolve('http://203.0.113.1/file', full)).rejects.toMatchObject({
        code: 'OriginBusy',
        message: 'the limits of 203.0.113.1 leave no room for a request now',
      });
      await vi.advanceTimersByTimeAsync(15_000);
      await resolving;
    } finally {
      vi.useRealTimers();
    }
  });

  it('that redirects says what to name instead', () => {
    expect(redirected(302, 'https://b.example.com/f?key=secret').message).toBe(
      'the origin redirects (302) to https://b.example.com/f; name that URL in spec.source.url, so that the limits of its host hold',
    );
  });

  it('that is too long for a transfer is told from one that cannot be reached', () => {
    const error = new PullError('SourceTooLarge', 'the file has 10 bytes too many');
    const probe = { kind: 'failed', error, usedBytes: 0 } as const;
    expect(() => fileOf(probe, 'http://cdn.example.com/set/', 'a/b')).toThrow(
      expect.objectContaining({
        code: 'TooLarge',
        message: "cdn.example.com, 'a/b': the file has 10 bytes too many",
      }),
    );
  });

  it('of files that another Origin covers is not asked, and neither is its list', async () => {
    const policy = { limits: {}, closeAfterSeconds: 1, allowPrivateAddresses: true };
    const policies = [
      { ...policy, name: 'outer', hosts: ['cdn.example.com'], allowAgentCredentials: false },
      { ...policy, name: 'inner', hosts: ['cdn.example.com/set/b'], allowAgentCredentials: false },
    ] as unknown as readonly OriginPolicy[];
    const request = { url: 'http://cdn.example.com/set/', headers: {}, uid: 'u' };
    const never: ProbeCharger = { charge: () => Promise.reject(new Error('it was asked')) };
    for (const named of [{ files: [{ path: 'a' }, { path: 'b/c' }] }, { filesFrom: 'b/SUMS' }]) {
      const resolving = resolveSource({ ...request, ...named }, policies, never, NEVER);
      await expect(resolving).rejects.toMatchObject({
        code: 'SpansOrigins',
        message: expect.stringContaining("the Origin 'inner' covers"),
      });
    }
  });
});
