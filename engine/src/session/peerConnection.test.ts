import bencode from 'bencode';
import { describe, expect, it } from 'vitest';
import { encode, encodePieceHeader, KEEP_ALIVE, type Message } from '../wire/codec.ts';
import { encodeHello, type Hello } from '../wire/hello.ts';
import { HmacMembership } from './membership.ts';
import { type ConnectionOwner, PeerConnection } from './peerConnection.ts';

const swarmId = Buffer.alloc(20, 1);
const membership = new HmacMembership(Buffer.alloc(32, 2));
const BLOCK = 16_384;

/** A connection that we opened to a peer that says this hello and proves itself. */
function openConnection(hello: Partial<Hello> = {}) {
  const log: string[] = [];
  const received: Message[] = [];
  const owner: ConnectionOwner = {
    swarmId,
    membership,
    pieceCount: 4,
    opened: () => log.push('opened'),
    received: (_from, message) => received.push(message),
    idle: () => {},
    drained: () => {},
    blockBegins: (from, block) => {
      if (!from.isOutstanding(block)) throw new Error('not asked for');
      return new Uint8Array(block.length);
    },
    blockEnds: (from, block) => log.push(`block, settled: ${from.settle(block)}`),
    closed: () => {},
    broke: () => log.push('the transfer is broken'),
  };
  const connection = new PeerConnection(owner, {
    clock: { now: () => 0, setTimer: () => ({ cancel: () => {} }) },
    random: { next: () => 0, bytes: (count) => Buffer.alloc(count, 9) },
    peerId: Buffer.alloc(20, 3),
    role: 'agent',
    find: () => undefined,
    waits: () => {},
    ended: (reason) => log.push(`closed: ${reason}`),
  });
  connection.attach({
    remoteHost: 'peer',
    queuedBytes: 0,
    write: () => {},
    close: (reason) => connection.onClose(reason),
  });
  const ours: Hello = {
    swarmId,
    peerId: Buffer.alloc(20, 3),
    role: 'agent',
    nonce: Buffer.alloc(32, 9),
  };
  const own = { peerId: Buffer.alloc(20, 4), nonce: Buffer.alloc(32, 8) };
  const theirs: Hello = { ...ours, ...own, ...hello };
  connection.onData(encodeHello(theirs));
  connection.onData(membership.prove(ours, theirs, 'acceptor'));
  return { connection, log, received };
}

function blockOf(length: number): Buffer {
  return Buffer.concat([encodePieceHeader({ piece: 0, offset: 0, length }), Buffer.alloc(length)]);
}

it('takes the block that it has asked for', () => {
  const { connection, log } = openConnection();
  connection.request([{ piece: 0, offset: 0, length: BLOCK }]);
  connection.onData(blockOf(BLOCK));
  expect(log).toEqual(['opened', 'block, settled: true']);
  expect(connection.outstandingBytes).toBe(0);
});

it.each([1, BLOCK - 1, BLOCK + 1, 2 * BLOCK])(
  'takes no block of %d bytes where 16 KiB were asked for',
  (length) => {
    const { connection, log } = openConnection();
    connection.request([{ piece: 0, offset: 0, length: BLOCK }]);
    connection.onData(blockOf(length));
    expect(log).not.toContain('block, settled: true');
    expect(connection.outstandingBytes).toBe(BLOCK);
  },
);

const have: Message = { type: 'have', piece: 0 };
const haveNone: Message = { type: 'haveNone' };

it.each<{ name: string; messages: Message[]; reason: string }>([
  { name: 'a have before the bitfield', messages: [have], reason: 'OutOfOrder' },
  { name: 'a second bitfield', messages: [haveNone, haveNone], reason: 'OutOfOrder' },
  {
    name: 'a bitfield of another layout',
    messages: [{ type: 'bitfield', bytes: new Uint8Array(2) }],
    reason: 'Malformed',
  },
  {
    name: 'a request over a connection that we opened',
    messages: [haveNone, { type: 'request', piece: 0, offset: 0, length: BLOCK }],
    reason: 'OutOfOrder',
  },
  {
    name: 'thousands of messages that tell nothing',
    messages: Array.from({ length: 3000 }, () => ({ type: 'unchoke' as const })),
    reason: 'Flooding',
  },
  {
    name: 'more of the feed than there can be',
    messages: Array.from({ length: 65 }, () => ({ type: 'feed' as const, batch: Buffer.of(1) })),
    reason: 'Flooding',
  },
])('closes a peer for $name', ({ messages, reason }) => {
  const { connection, log } = openConnection();
  connection.onData(Buffer.concat(messages.map((message) => encode(message))));
  expect(log).toEqual(['opened', `closed: ${reason}`]);
});

function frame(...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

describe.each([
  ['keep-alives', KEEP_ALIVE],
  ['messages that nobody knows', frame(Buffer.of(99))],
  ['extensions that nobody knows', frame(Buffer.of(20, 9))],
])('of %s', (_, message) => {
  it('a peer may send a few, and is closed for thousands at once', () => {
    const { connection, log } = openConnection();
    connection.onData(Buffer.concat(Array(2000).fill(message)));
    expect(log).toEqual(['opened']);
    connection.onData(Buffer.concat(Array(100).fill(message)));
    expect(log).toEqual(['opened', 'closed: Flooding']);
  });
});

describe('a peer of a newer release', () => {
  it('proves itself with bits in its hello that we do not know', () => {
    const reserved = Buffer.of(0x80, 0, 0, 0, 0x01, 0x10, 0, 0x0d);
    expect(openConnection({ reserved }).log).toEqual(['opened']);
  });

  it('is told by name when it speaks another version, and not as one that is broken', () => {
    const reserved = Buffer.of(0, 0, 0, 1, 0, 0x10, 0, 0x04);
    expect(openConnection({ reserved }).log).toEqual(['closed: UnknownVersion']);
  });

  it('may say what we do not know: messages, extensions, and more about itself', () => {
    const { connection, log, received } = openConnection();
    const handshake = { m: { sl_feed: 3, sl_more: 9 }, sl_request: 262_144, sl_else: [1], v: 'x' };
    connection.onData(frame(Buffer.of(20, 0), Buffer.from(bencode.encode(handshake))));
    connection.onData(frame(Buffer.of(20, 9), Buffer.from('an extension of theirs')));
    connection.onData(frame(Buffer.of(99), Buffer.from('a message of theirs')));
    expect(log).toEqual(['opened']);
    expect(received).toEqual([
      { type: 'extensions', extensions: { feedId: 3, maxRequestBytes: 131_072 } },
    ]);
  });
});
