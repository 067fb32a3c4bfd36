import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Silence } from './silence.ts';

const LIMIT_MS = 50;

let server: Socket;
let client: Socket;
let silent: number;
let silence: Silence;
let close: () => void;

beforeEach(async () => {
  const listening = createServer();
  await once(listening.listen(0, '127.0.0.1'), 'listening');
  client = connect((listening.address() as AddressInfo).port, '127.0.0.1');
  [server] = (await once(listening, 'connection')) as [Socket];
  close = () => {
    client.destroy();
    server.destroy();
    listening.close();
  };
  silent = 0;
  silence = new Silence(LIMIT_MS, () => {
    silent += 1;
  });
});

afterEach(() => {
  silence.pause();
  close();
});

/** The process has no processor, or does something else. */
function block(durationMs: number): void {
  const untilMs = performance.now() + durationMs;
  while (performance.now() < untilMs);
}

it('who says nothing is silent, once', async () => {
  silence.listen();
  await vi.waitFor(() => expect(silent).toBe(1));
  await new Promise((resolve) => setTimeout(resolve, 3 * LIMIT_MS));
  expect(silent).toBe(1);
});

it('what came while nobody could read it was heard', async () => {
  client.on('data', () => silence.listen());
  silence.listen();
  // The kernel has it when this returns, and nobody has read it when the time is over.
  server.write('.');
  block(3 * LIMIT_MS);
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  expect(silent).toBe(0);
  await vi.waitFor(() => expect(silent).toBe(1));
});

it('while it is paused nobody is silent', async () => {
  silence.listen();
  silence.pause();
  await new Promise((resolve) => setTimeout(resolve, 3 * LIMIT_MS));
  expect(silent).toBe(0);
});
