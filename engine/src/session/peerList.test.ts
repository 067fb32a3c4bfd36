import { expect, it } from 'vitest';
import type { PeerSocket } from '../ports/transport.ts';
import { SeededRandom } from '../sim/seededRandom.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import type { CloseReason } from './closeReason.ts';
import { type Dialed, PeerList } from './peerList.ts';

const PEER = { host: '10.0.0.7', port: 6881 };

/** A list of one peer, and the connections that were opened to it. */
function listed() {
  const clock = new VirtualClock();
  const opened: (Dialed & { reason?: CloseReason })[] = [];
  const list = new PeerList<Dialed>({
    clock,
    random: new SeededRandom(1),
    transport: {
      connect: async () => ({}) as PeerSocket,
      listen: () => Promise.reject(new Error('nobody listens')),
    },
    connect: () => {
      const connection: (typeof opened)[0] = {
        number: opened.length + 1,
        attach: () => {},
        close: (reason) => {
          connection.reason = reason;
          list.closed(connection);
        },
        connectFailed: () => {},
        onData: () => {},
        onDrain: () => {},
        onClose: () => {},
      };
      opened.push(connection);
      return connection;
    },
  });
  list.set([PEER]);
  list.connectDue();
  return { list, opened, pass: (ms: number) => clock.run(() => false, ms) };
}

it('bans a peer that is there, once, by the address that it says then', async () => {
  const { list, opened, pass } = listed();
  expect(list.ban(1)).toBe('10.0.0.7:6881');
  expect(list.ban(1)).toBeUndefined();
  expect(opened[0]?.reason).toBe('WrongBytes');
  await pass(60_000);
  list.connectDue();
  expect(opened).toHaveLength(1);
});

it('bans a peer that has left, and says so all the same', async () => {
  const { list, opened, pass } = listed();
  opened[0]?.close('Disconnected');
  expect(list.ban(1)).toBe('10.0.0.7:6881');
  await pass(60_000);
  list.connectDue();
  expect(opened).toHaveLength(1);
});

it('knows no address of who was never called from here', () => {
  expect(listed().list.ban(99)).toBeUndefined();
});
