import { expect, it } from 'vitest';
import type { PeerSocket, SocketHandlers } from '../ports/transport.ts';
import { encodeHello } from '../wire/hello.ts';
import { EngineHost } from './host.ts';

/** A host that serves no swarm, and a way to come in there. */
async function startedHost() {
  let accept: ((socket: PeerSocket) => SocketHandlers) | undefined;
  const host = new EngineHost(
    { port: 0, role: 'relay' },
    {
      clock: { now: () => 0, setTimer: () => ({ cancel: () => {} }) },
      random: { next: () => 0, bytes: (count) => Buffer.alloc(count, 9) },
      transport: {
        connect: () => Promise.reject(new Error('nobody is called')),
        listen: async (_, onSocket) => {
          accept = onSocket;
          return { port: 6881, close: async () => {} };
        },
      },
    },
  );
  await host.start();
  /** Answers the reasons for which it was closed. */
  const comeIn = (remoteHost: string, said: Uint8Array): string[] => {
    const closed: string[] = [];
    const close = (reason: string) => {
      closed.push(reason);
      handlers?.onClose(reason);
    };
    const socket = { remoteHost, queuedBytes: 0, write: () => {}, close };
    const handlers = accept?.(socket);
    handlers?.onData(said);
    return closed;
  };
  return { host, comeIn };
}

const hello = encodeHello({
  swarmId: Buffer.alloc(20, 1),
  peerId: Buffer.alloc(20, 4),
  role: 'agent',
  nonce: Buffer.alloc(32, 8),
});

it('lets 208 wait for swarms that it does not serve, and closes who has waited longest', async () => {
  const { host, comeIn } = await startedHost();
  const silent = comeIn('silent', Buffer.alloc(0));
  const waiting = Array.from({ length: 240 }, (_, at) => comeIn(`host ${at}`, hello));
  expect(waiting.slice(0, 32)).toEqual(Array(32).fill(['UnknownSwarm']));
  expect(waiting.slice(32).flat()).toEqual([]);
  // Who has not said yet what it wants is none of them.
  expect(silent).toEqual([]);
  expect([...host.closedConnections]).toEqual([['UnknownSwarm', 32]]);
});
