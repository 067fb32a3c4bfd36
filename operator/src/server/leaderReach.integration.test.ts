import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { LeaderReach } from './leaderReach.ts';

let server: Server;
let url: string;
let connections: number;
let nowMs: number;
let reach: LeaderReach;

beforeEach(async () => {
  connections = 0;
  nowMs = 0;
  // As a leader that is too busy for a handshake.
  server = createServer(() => {
    connections += 1;
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  reach = new LeaderReach({ now: () => nowMs });
});

afterEach(() => server.close());

it('one connection tells for all who ask, and again when that is old', async () => {
  for (let asked = 0; asked < 100; asked += 1) expect(reach.answers(url)).toBeUndefined();
  await vi.waitFor(() => expect(reach.answers(url)).toBe(true));
  expect(connections).toBe(1);
  nowMs += 250;
  expect(reach.answers(url)).toBeUndefined();
  await vi.waitFor(() => expect(connections).toBe(2));
});

it('an address where nobody is does not answer, and says nothing of another one', async () => {
  server.close();
  await once(server, 'close');
  expect(reach.answers(url)).toBeUndefined();
  await vi.waitFor(() => expect(reach.answers(url)).toBe(false));
  expect(reach.answers('https://127.0.0.2:1')).toBeUndefined();
});
