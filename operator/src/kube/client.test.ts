import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { expect, it } from 'vitest';
import { KubeClient } from './client.ts';

it.each([
  { header: '7', retryAfterMs: 7000 },
  { header: '999999', retryAfterMs: 300_000 },
  { header: 'Wed, 21 Oct 2037 07:28:00 GMT', retryAfterMs: undefined },
  { header: undefined, retryAfterMs: undefined },
])(
  'a refusal tells when the server wants to be asked again: $header',
  async ({ header, retryAfterMs }) => {
    const server = createServer((_request, response) => {
      response.writeHead(429, header === undefined ? {} : { 'retry-after': header });
      response.end(JSON.stringify({ kind: 'Status', message: 'too many requests' }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const config = new KubeConfig();
    const { port } = server.address() as AddressInfo;
    config.loadFromOptions({
      clusters: [{ name: 'here', server: `http://127.0.0.1:${port}`, skipTLSVerify: true }],
      users: [{ name: 'me' }],
      contexts: [{ name: 'here', cluster: 'here', user: 'me' }],
      currentContext: 'here',
    });
    const client = new KubeClient({}, { config });
    try {
      await expect(client.request({ method: 'GET', path: '/api' })).rejects.toMatchObject({
        code: 'TooManyRequests',
        retryAfterMs,
      });
    } finally {
      await client.close();
      server.close();
    }
  },
);
