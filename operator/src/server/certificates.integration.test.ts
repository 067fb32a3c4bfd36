import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { bundleOf } from './authority.ts';
import { makeAuthority, makeServerCertificate } from './certificates.ts';

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
