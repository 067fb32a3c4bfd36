import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { connect } from 'node:tls';
import { Trust } from '@sluice/protocol/client/trust.ts';
import { describe, expect, it } from 'vitest';
import { type Authority, bundleOf } from './authority.ts';
import { makeAuthority, makeServerCertificate } from './certificates.ts';
import { ticketKeysFrom } from './sessions.ts';

const NAME = 'sluice-control.sluice-system.svc';

/** What a client says that trusts only this bundle. */
async function handshake(port: number, ca: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, ca, servername: NAME });
  try {
    await once(socket, 'secureConnect');
    return 'trusted';
  } catch (error) {
    return (error as { code?: string }).code ?? 'refused';
  } finally {
    socket.destroy();
  }
}

describe('certificates of the control API', () => {
  it('are trusted by who has the CA, also beside the one before, and by nobody else', async () => {
    const [before, current, stranger] = await Promise.all(
      [0, 1, 2].map(() => makeAuthority(Date.now())),
    );
    if (before === undefined || current === undefined || stranger === undefined) throw new Error();
    const { key, certificate } = await makeServerCertificate([NAME], current, Date.now());
    const server = createServer({ key, cert: certificate });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const both = bundleOf({ current, next: undefined, previous: before.certificate });
    expect(await handshake(port, both)).toBe('trusted');
    expect(await handshake(port, stranger.certificate)).not.toBe('trusted');
    server.close();
  });
});

describe('a client that one replica knows', () => {
  async function replica(sessionKey: Buffer, authority: Authority) {
    const { key, certificate } = await makeServerCertificate([NAME], authority, Date.now());
    const resumed: boolean[] = [];
    const ticketKeys = ticketKeysFrom(sessionKey);
    const server = createServer({ key, cert: certificate, ticketKeys }, (_request, response) => {
      response.end('{}');
    });
    server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return { server, resumed, origin: `https://127.0.0.1:${port}` };
  }

  it('resumes at another with the same key, and at no other', async () => {
    const authority = await makeAuthority(Date.now());
    const [key, other] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    const replicas = [];
    for (const each of [key, key, other]) replicas.push(await replica(each, authority));
    const caFile = path.join(await mkdtemp(path.join(os.tmpdir(), 'sluice-ca-')), 'ca.crt');
    await writeFile(caFile, authority.certificate);
    const trust = new Trust({
      caFile,
      controlUrl: new URL(`https://${NAME}`),
      handshakeTimeoutMs: 5_000,
    });
    const client = await trust.dispatcher();
    for (const { origin } of [...replicas, ...replicas]) {
      const headers = { connection: 'close' };
      const { body } = await client.request({ origin, path: '/', method: 'GET', headers });
      await body.dump();
    }
    expect(replicas.map(({ resumed }) => resumed)).toEqual([
      [false, false],
      [true, true],
      [false, false],
    ]);
    trust.close();
    await rm(path.dirname(caFile), { recursive: true });
    for (const { server } of replicas) server.close();
  });
});
