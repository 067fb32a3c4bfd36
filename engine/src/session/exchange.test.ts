import { beforeEach, describe, expect, it } from 'vitest';
import { FeedLog } from '../feed/feedLog.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PeerSocket } from '../ports/transport.ts';
import { openMembership } from '../sim/openMembership.ts';
import { SeededRandom } from '../sim/seededRandom.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { PiecePicker } from '../swarm/piecePicker.ts';
import {
  type BlockRequest,
  encode,
  LARGE_REQUEST_BYTES,
  type Message,
  OWN_EXTENSIONS,
} from '../wire/codec.ts';
import { encodeHello, HELLO_BYTES, type Hello } from '../wire/hello.ts';
import type { CloseReason } from './closeReason.ts';
import { Exchange } from './exchange.ts';
import type { Intake } from './intake.ts';
import { type ConnectionDependencies, PeerConnection } from './peerConnection.ts';
import { PieceMemory } from './pieceMemory.ts';
import type { Served, Uploader } from './uploader.ts';

const PIECE = 2 * LARGE_REQUEST_BYTES;
const PIECES = 4;
const layout = layoutOf([{ path: 'a', sizeBytes: PIECES * PIECE }], PIECE);
const swarmId = Buffer.alloc(20, 1);
/** A quarter of a second of it may be saved up. */
const RATE = 16 * LARGE_REQUEST_BYTES;
const REQUEST_ID = 6;

let clock: VirtualClock;
let picker: PiecePicker;
let downloadBucket: TokenBucket;
let exchange: Exchange;
let lastPeer: number;
let closed: CloseReason[];

beforeEach(async () => {
  clock = new VirtualClock();
  lastPeer = 0;
  closed = [];
  const random = new SeededRandom(1);
  picker = new PiecePicker({
    pieceCount: PIECES,
    blockBytes: LARGE_REQUEST_BYTES,
    pieceSizeBytes: () => PIECE,
    random: () => random.next(),
  });
  for (let piece = 0; piece < PIECES; piece += 1) picker.name(piece, true);
  const limit = { rateBytesPerSecond: RATE, capacityBytes: RATE / 4 };
  downloadBucket = new TokenBucket(limit, 0);
  const intake = { storingBytes: 0, comingIn: 0, reserve: () => {}, senderLeft: () => {} };
  exchange = new Exchange(
    { swarmId, membership: openMembership, role: 'agent', layout, blockBytes: LARGE_REQUEST_BYTES },
    {
      clock,
      random,
      transport: { connect: () => new Promise(() => {}), listen: () => new Promise(() => {}) },
      uploader: { add: () => {}, remove: () => {} } as unknown as Uploader,
      connect: (owner) => new PeerConnection(owner, connectionDependencies()),
      feed: new FeedLog({
        swarmId,
        feedKey: generateFeedKeyPair().publicKey,
        pieceCount: PIECES,
      }),
      picker,
      offered: new Bitfield(PIECES),
      intake: intake as unknown as Intake,
      memory: new PieceMemory(),
      downloadBucket,
      served: { serves: () => true } as unknown as Served,
      wantsPieces: () => true,
      isPulling: () => false,
      acceptBatch: () => false,
      onPayload: () => {},
      onBanned: () => {},
      onBroken: (error) => {
        throw error;
      },
    },
  );
  await pass(1_000);
});

function connectionDependencies(): ConnectionDependencies {
  return {
    clock,
    random: { next: () => 0, bytes: (count: number) => Buffer.alloc(count, 9) },
    peerId: Buffer.alloc(20, 100),
    role: 'agent',
    find: () => exchange,
    waits: () => {},
    ended: (reason) => closed.push(reason),
  };
}

function pass(ms: number): Promise<boolean> {
  return clock.run(() => false, ms);
}

interface Peer {
  readonly connection: PeerConnection;
  readonly socket: { queuedBytes: number; takes: boolean };
  /** What it was asked for. */
  readonly asked: BlockRequest[];
  says(...messages: Message[]): void;
}

/** A connection that we opened to a peer which has all pieces. */
function join(): Peer {
  lastPeer += 1;
  const connection = new PeerConnection(exchange, connectionDependencies());
  const asked: Peer['asked'] = [];
  let hello: Buffer = Buffer.alloc(0);
  const socket: PeerSocket & Peer['socket'] = {
    remoteHost: 'peer',
    queuedBytes: 0,
    takes: true,
    write: (buffers: readonly Uint8Array[]) => {
      for (const bytes of buffers.map((each) => Buffer.from(each))) {
        if (!socket.takes) socket.queuedBytes += bytes.length;
        if (bytes.length === HELLO_BYTES) hello = bytes;
        if (bytes.length !== 17 || bytes[4] !== REQUEST_ID) continue;
        const [piece, offset] = [bytes.readUInt32BE(5), bytes.readUInt32BE(9)];
        asked.push({ piece, offset, length: bytes.readUInt32BE(13) });
      }
    },
    close: (reason: string) => connection.onClose(reason),
  };
  connection.attach(socket);
  expect(hello.length).toBe(HELLO_BYTES);
  const ours: Hello = {
    swarmId,
    peerId: Buffer.alloc(20, 100),
    role: 'agent',
    nonce: Buffer.alloc(32, 9),
  };
  const peerId = Buffer.alloc(20, lastPeer);
  const theirs: Hello = { ...ours, peerId, nonce: Buffer.alloc(32, lastPeer) };
  connection.onData(encodeHello(theirs));
  connection.onData(openMembership.prove(ours, theirs, 'acceptor'));
  const says = (...messages: Message[]) => {
    connection.onData(Buffer.concat(messages.map((message) => encode(message))));
  };
  says(
    { type: 'extensions', extensions: OWN_EXTENSIONS },
    { type: 'haveAll' },
    { type: 'unchoke' },
  );
  return { connection, socket, asked, says };
}

/** One that a peer has opened to us. */
function isJoined(): (...messages: Message[]) => void {
  const connection = new PeerConnection(undefined, connectionDependencies());
  connection.attach({
    remoteHost: 'peer',
    queuedBytes: 0,
    write: () => {},
    close: (reason) => connection.onClose(reason),
  });
  const nonce = Buffer.alloc(32, 9);
  const theirs: Hello = { swarmId, peerId: Buffer.alloc(20, 1), role: 'agent', nonce };
  connection.onData(encodeHello(theirs));
  connection.onData(
    openMembership.prove(theirs, { ...theirs, peerId: Buffer.alloc(20, 100) }, 'opener'),
  );
  const says = (...messages: Message[]) =>
    connection.onData(Buffer.concat(messages.map((message) => encode(message))));
  says({ type: 'extensions', extensions: OWN_EXTENSIONS }, { type: 'haveNone' });
  return says;
}

function rejects({ asked, says }: Peer): void {
  const block = asked.at(-1);
  if (block === undefined) throw new Error('nothing was asked for');
  says({ type: 'reject', ...block });
}

async function tick(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 100) {
    await pass(100);
    exchange.tick(100);
  }
}

describe('a peer that rejects what it is asked for', () => {
  it('is not asked again in the same breath, and others have the block', () => {
    const peer = join();
    expect(peer.asked).toHaveLength(1);
    rejects(peer);
    expect(peer.asked).toHaveLength(1);
    expect(join().asked).toEqual([peer.asked[0]]);
  });

  it('is asked for other pieces soon, and for the same one after ten seconds', async () => {
    const peer = join();
    const [first] = peer.asked;
    rejects(peer);
    await tick(200);
    expect(peer.asked).toHaveLength(2);
    expect(peer.asked[1]?.piece).not.toBe(first?.piece);
    rejects(peer);
    await tick(9_000);
    while (peer.asked.length < PIECES) {
      rejects(peer);
      await tick(500);
    }
    expect(new Set(peer.asked.map(({ piece }) => piece)).size).toBe(PIECES);
    rejects(peer);
    await tick(3_000);
    expect(peer.asked).toHaveLength(PIECES + 1);
    expect(peer.asked.at(-1)?.piece).toBe(first?.piece);
  });

  it('is asked for it sooner when it says that it has it', async () => {
    const peer = join();
    const piece = peer.asked[0]?.piece as number;
    rejects(peer);
    peer.says({ type: 'have', piece });
    await tick(200);
    expect(peer.asked).toEqual([peer.asked[0], peer.asked[0]]);
  });

  it('is asked less and less', async () => {
    const peer = join();
    let rejected = 0;
    for (let time = 0; time < 600; time += 1) {
      if (peer.asked.length > rejected) {
        rejects(peer);
        rejected += 1;
      }
      await tick(100);
    }
    expect(rejected).toBeGreaterThan(5);
    expect(rejected).toBeLessThan(20);
  });

  it('is not held to it when the block is not needed any more', () => {
    const peer = join();
    picker.leaveActive(peer.asked[0]?.piece as number, 'taken');
    rejects(peer);
    expect(peer.asked).toHaveLength(2);
  });

  it('takes nothing of the rate that we may ask for', () => {
    const before = downloadBucket.available(clock.now());
    const peer = join();
    expect(downloadBucket.available(clock.now())).toBe(before - LARGE_REQUEST_BYTES);
    rejects(peer);
    expect(downloadBucket.available(clock.now())).toBe(before);
  });
});

it('what a peer owes us when it leaves takes nothing of the rate that we may ask for', () => {
  const before = downloadBucket.available(clock.now());
  const { connection, asked } = join();
  expect(asked).toHaveLength(1);
  connection.close('Disconnected');
  expect(downloadBucket.available(clock.now())).toBe(before);
});

it('leaves a peer that takes nothing of what waits for it, whatever it says', async () => {
  const peer = join();
  rejects(peer);
  const live = async (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) {
      await tick(1_000);
      peer.says({ type: 'have', piece: 0 });
      if (peer.connection.outstandingBytes > 0) rejects(peer);
    }
  };
  peer.socket.takes = false;
  peer.connection.sendBlock(peer.asked[0] as BlockRequest, new Uint8Array(LARGE_REQUEST_BYTES));
  await live(25);
  peer.socket.queuedBytes -= 1_000;
  await live(25);
  expect(closed).toEqual([]);
  await live(10);
  expect(closed).toEqual(['NotReading']);
});

it('closes a peer that asks and cancels without end, and none that cancels what it owed at the end', () => {
  const block = { piece: 0, offset: 0, length: LARGE_REQUEST_BYTES };
  const pair: Message[] = [
    { type: 'request', ...block },
    { type: 'cancel', ...block },
  ];
  const says = isJoined();
  for (let count = 0; count < 1000; count += 1) says(...pair);
  expect(closed).toEqual([]);
  for (let count = 0; count < 1100; count += 1) says(...pair);
  expect(closed).toEqual(['Flooding']);
});
