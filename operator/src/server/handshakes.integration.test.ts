import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, connect as connectPlain, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { makeAuthority, makeServerCertificate } from './certificates.ts';
import { AT_ONCE, Handshakes } from './handshakes.ts';

let server: Server;
let port: number;
let nowMs: number;
let isLeader: boolean;
let clients: Socket[];
let begun: number;
let accepted: number;
let handshakes: Handshakes;

beforeEach(async () => {
  nowMs = 0;
  isLeader = true;
  clients = [];
  begun = 0;
  accepted = 0;
  const authority = await makeAuthority(Date.now());
  const { key, certificate } = await makeServerCertificate(['localhost'], authority, Date.now());
  server = createServer({ key, cert: certificate }, (_, response) => response.end('here'));
  server.on('connection', () => {
    begun += 1;
  });
  handshakes = new Handshakes(server, { clock: { now: () => nowMs }, isLeader: () => isLeader });
  server.on('connection', () => {
    accepted += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});

afterEach(async () => {
  for (const client of clients) client.destroy();
  await closed();
});

/** Resolves when no connection is left. */
async function closed(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  handshakes.destroyAll();
  await promise;
}

/** Connects, and says nothing. */
async function silent(): Promise<Socket> {
  const socket = connectPlain(port, '127.0.0.1').on('error', () => {});
  clients.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** What it is answered until its connection ends, one way or another. */
async function asks(): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  clients.push(socket);
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  let text = '';
  socket.on('data', (part) => {
    text += part;
  });
  await new Promise((resolve) => socket.on('close', resolve));
  return text;
}

it('a client is answered, and so are those after one that went or spoke no TLS', async () => {
  // More than there may be at once: each gives its place back.
  for (let at = 0; at <= AT_ONCE.leader; at += 1) {
    (await silent()).destroy();
    (await silent()).write('GET / HTTP/1.1\r\n\r\n');
  }
  for (let at = 0; at < 100; at += 1) expect(await asks()).toContain('here');
});

it('beyond so many at once the newest is the next, and who has waited for too long is let go', async () => {
  const first = [];
  for (let at = 0; at < AT_ONCE.leader; at += 1) first.push(await silent());
  await vi.waitFor(() => expect(begun).toBe(AT_ONCE.leader));
  const old = asks();
  await vi.waitFor(() => expect(accepted).toBe(AT_ONCE.leader + 1));
  nowMs = 29_000;
  const newest = asks();
  await vi.waitFor(() => expect(accepted).toBe(AT_ONCE.leader + 2));
  expect(begun).toBe(AT_ONCE.leader);
  nowMs = 58_000;
  first[0]?.destroy();
  expect(await newest).toContain('here');
  expect(await old).toBe('');
});

it('one that leads begins fewer at once than one that does not', async () => {
  isLeader = false;
  for (let at = 0; at < AT_ONCE.leader + 1; at += 1) await silent();
  await vi.waitFor(() => expect(begun).toBe(AT_ONCE.leader + 1));
  isLeader = true;
  await silent();
  await vi.waitFor(() => expect(accepted).toBe(AT_ONCE.leader + 2));
  expect(begun).toBe(AT_ONCE.leader + 1);
});

it('a server that closes waits for nobody: idle, in the handshake, or before it', async () => {
  const idle = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  clients.push(idle.on('error', () => {}));
  await once(idle, 'secureConnect');
  const silents = [];
  for (let at = 0; at <= AT_ONCE.leader; at += 1) silents.push(await silent());
  await vi.waitFor(() => expect(accepted).toBe(AT_ONCE.leader + 2));
  expect(begun, 'the last one waits').toBe(AT_ONCE.leader + 1);
  const ended = [idle, ...silents].map((socket) => once(socket.resume(), 'close'));
  await closed();
  await Promise.all(ended);
});
