import { randomBytes } from 'node:crypto';
import { beforeEach, expect, it } from 'vitest';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PeerSocket, SocketHandlers } from '../ports/transport.ts';
import { PieceMemory } from '../session/pieceMemory.ts';
import { Uploader } from '../session/uploader.ts';
import { encodeHashRequest } from '../sim/hashRequest.ts';
import { SeededRandom } from '../sim/seededRandom.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { buildTorrent } from '../torrent/buildTorrent.ts';
import { loadTorrent } from '../torrent/loadTorrent.ts';
import { wireHashesOf } from '../torrent/torrent.ts';
import { encode, MessageReader } from '../wire/codec.ts';
import { encodeStockHandshake, STOCK_HANDSHAKE_BYTES } from '../wire/stockHandshake.ts';
import { StockHost } from './stockHost.ts';
import type { StockSwarm } from './stockSwarm.ts';

const PIECE = 16_384;
const PIECES = 512;
/** Of BEP 52. */
const HASHES_ID = 22;
const HASH_REJECT_ID = 23;
/** One row of all piece hashes, and what is around it. */
const HASHES_BYTES = 5 + 48 + 32 * PIECES;
const INTERESTED = encode({ type: 'interested' });

const torrent = loadTorrent(
  buildTorrent({
    name: 'set',
    layout: layoutOf([{ path: 'a', sizeBytes: PIECES * PIECE }], PIECE),
    pieceHashes: Array.from({ length: PIECES }, () => randomBytes(32)),
    sha1Pieces: Array.from({ length: PIECES }, () => randomBytes(20)),
  }),
);

let clock: VirtualClock;
let host: StockHost;
let accept: (socket: PeerSocket) => SocketHandlers;

beforeEach(async () => {
  clock = new VirtualClock();
  const memory = new PieceMemory();
  const transport = {
    connect: () => Promise.reject(new Error('nobody is called')),
    listen: async (_: number, onSocket: typeof accept) => {
      accept = onSocket;
      return { port: 6881, close: async () => {} };
    },
  };
  const bucket = new TokenBucket({ rateBytesPerSecond: undefined, capacityBytes: 0 }, 0);
  const uploader = new Uploader(bucket, clock, memory);
  const random = new SeededRandom(1);
  host = new StockHost({ port: 0 }, { clock, random, transport, uploader, memory });
  await host.start();
});

/** Serves the torrent from bytes that are all the same. */
async function served(byte = 0): Promise<StockSwarm> {
  const swarm = host.add({
    torrent,
    content: {
      kind: 'finished',
      readInto: async (_, __, into) => {
        into.fill(byte);
      },
    },
    bucket: new TokenBucket({ rateBytesPerSecond: undefined, capacityBytes: 0 }, 0),
    uploaded: () => {},
  });
  await swarm.start();
  return swarm;
}

/** A client that has shaken hands; what is sent to it stays in the queue. */
function comeIn(remoteHost = 'client') {
  const heard: string[] = [];
  const blocks: Buffer[] = [];
  let closed: string | undefined;
  const reader = new MessageReader(PIECES, {
    onBlockBegin: (_, __, length) => {
      const block = Buffer.alloc(length);
      blocks.push(block);
      return block;
    },
    onBlockEnd: () => {},
    onMessage: ({ type }) => heard.push(type),
    onUnknown: ([id]) => heard.push(`id ${id}`),
  });
  let skip = STOCK_HANDSHAKE_BYTES;
  const socket = {
    remoteHost,
    queuedBytes: 0,
    write: (buffers: readonly Uint8Array[], onSent?: () => void) => {
      const bytes = Buffer.concat(buffers);
      socket.queuedBytes += bytes.length;
      reader.push(bytes.subarray(Math.min(skip, bytes.length)));
      skip -= Math.min(skip, bytes.length);
      onSent?.();
    },
    close: (reason: string) => {
      closed = reason;
      queueMicrotask(() => handlers.onClose(reason));
    },
  };
  const handlers = accept(socket);
  const [infoHash] = wireHashesOf(torrent);
  handlers.onData(encodeStockHandshake(infoHash as Buffer, randomBytes(20), true));
  return {
    socket,
    heard,
    blocks,
    get closed() {
      return closed;
    },
    says: (...messages: readonly Uint8Array[]) => handlers.onData(Buffer.concat(messages)),
  };
}

function pass(ms: number): Promise<boolean> {
  return clock.run(() => false, ms);
}

it('serves a torrent on when the first of two epochs with the same bytes ends', async () => {
  const first = await served(1);
  const second = await served(2);
  const gives = async () => {
    const client = comeIn();
    client.says(INTERESTED);
    await pass(200);
    client.says(encode({ type: 'request', piece: 3, offset: 0, length: PIECE }));
    await pass(200);
    return client.blocks[0]?.[0];
  };
  expect(await gives()).toBe(1);
  await host.remove(first);
  expect(await gives()).toBe(2);
  await host.remove(second);
  expect(comeIn().closed).toMatch(/unknown torrent/);
});

it('serves a torrent on when the second of two epochs with the same bytes ends', async () => {
  await served(1);
  await host.remove(await served(2));
  const client = comeIn();
  expect(client.closed).toBeUndefined();
});

it('answers no more about hashes than waits in a queue, and refuses the others', async () => {
  await served();
  const client = comeIn();
  const range = { root: torrent.v2?.layers[0]?.root as Buffer, index: 0, length: PIECES };
  const request = encodeHashRequest({ ...range, baseLayer: 0, proofLayers: 0 });
  client.says(...Array(1236).fill(request));
  const told = (id: number) => client.heard.filter((each) => each === `id ${id}`).length;
  expect(told(HASHES_ID) + told(HASH_REJECT_ID)).toBe(1236);
  expect(told(HASHES_ID) * HASHES_BYTES).toBeLessThan(1_048_576 + HASHES_BYTES);
  expect(told(HASHES_ID)).toBeGreaterThan(60);
  // Once it has taken them it may ask again.
  client.socket.queuedBytes = 0;
  client.says(request);
  expect(client.heard.at(-1)).toBe(`id ${HASHES_ID}`);
});

it('looks at who is served when it is time, and not each time that somebody says interested', async () => {
  await served();
  const client = comeIn();
  for (let count = 0; count < 500; count += 1) {
    client.says(INTERESTED, encode({ type: 'notInterested' }), INTERESTED);
  }
  await pass(200);
  expect(client.heard.filter((each) => each === 'choke' || each === 'unchoke')).toEqual([
    'unchoke',
  ]);
});

it('lets one host have a quarter of its places, and others come in all the same', async () => {
  await served();
  const clients = Array.from({ length: 257 }, () => comeIn('one'));
  expect(clients.map(({ closed }) => closed)).toEqual([
    ...Array(256).fill(undefined),
    'TooManyConnections',
  ]);
  expect(comeIn('another').closed).toBeUndefined();
  await pass(1);
  expect([...host.closedConnections]).toEqual([['TooManyConnections', 1]]);
});
