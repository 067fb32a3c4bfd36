import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, connect as connectPlain, createServer as createPlain } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { makeAuthority, makeServerCertificate } from './certificates.ts';
import { Handshakes } from './handshakes.ts';
import { WideListening } from './wideListening.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0, backlog: 4_096 };

let server: Server;
let handshakes: Handshakes;
let wide: WideListening;
let accepted: number;

beforeEach(async () => {
  accepted = 0;
  const authority = await makeAuthority(Date.now());
  const { key, certificate } = await makeServerCertificate(['localhost'], authority, Date.now());
  server = createServer({ key, cert: certificate }, (_, response) => response.end('here'));
  handshakes = new Handshakes(server, { now: () => performance.now() });
  server.on('connection', () => {
    accepted += 1;
  });
  wide = new WideListening(server);
});

afterEach(async () => {
  if (server.listening) await close();
});

async function close(): Promise<void> {
  const closed = wide.close();
  handshakes.destroyAll();
  await closed;
}

function portOf(): number {
  return (server.address() as AddressInfo).port;
}

/** How often the event loop comes round until so many, who come at once, are let in. */
async function turnsFor(count: number): Promise<number> {
  const clients = Array.from({ length: count }, () => {
    return connectPlain(portOf(), '127.0.0.1').on('error', () => {});
  });
  let turns = 0;
  for (; accepted < count; turns += 1) await new Promise(setImmediate);
  for (const client of clients) client.destroy();
  return turns;
}

it.runIf(process.platform === 'linux')(
  'several are let in each time the event loop comes round',
  async () => {
    await wide.listen(LOOPBACK);
    expect(await turnsFor(200)).toBeLessThan(200 / 3);
  },
);

it('one socket lets one in: what the others are for', async () => {
  await wide.listen({ ...LOOPBACK, sockets: 1 });
  expect(await turnsFor(200)).toBeGreaterThanOrEqual(200);
});

it('whoever comes is answered, by whichever socket', async () => {
  await wide.listen(LOOPBACK);
  for (let at = 0; at < 50; at += 1) {
    const socket = connect({ port: portOf(), host: '127.0.0.1', rejectUnauthorized: false });
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const part of socket) text += part;
    expect(text).toContain('here');
  }
});

it('after it is closed nobody is let in, and the port is free', async () => {
  await wide.listen(LOOPBACK);
  const port = portOf();
  const idle = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  idle.on('error', () => {});
  await once(idle, 'secureConnect');
  const ended = once(idle.resume(), 'close');
  await close();
  await ended;
  const next = createPlain().listen(port, '127.0.0.1');
  await once(next, 'listening');
  await new Promise((resolve) => next.close(resolve));
});

it('a port that somebody else has is refused', async () => {
  const other = createPlain().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  await expect(wide.listen({ ...LOOPBACK, port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  await new Promise((resolve) => other.close(resolve));
});
