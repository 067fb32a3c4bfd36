import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { leafCountOf, pieceHash } from '@sluice/engine/feed/pieceHash.ts';
import { TokenBucket } from '@sluice/engine/pacing/tokenBucket.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';
import { loadTorrent } from '@sluice/engine/torrent/loadTorrent.ts';
import { wireHashesOf } from '@sluice/engine/torrent/torrent.ts';
import { encodeStockHandshake, STOCK_HANDSHAKE_BYTES } from '@sluice/engine/wire/stockHandshake.ts';
import { afterEach, expect, it } from 'vitest';
import { PublishedTorrent } from './publishedTorrent.ts';

const PIECE = 262_144;
const bytes = randomBytes(PIECE);
const layout = layoutOf([{ path: 'a.bin', sizeBytes: PIECE }], PIECE);
const sizes = { sizeBytes: PIECE, pieceLengthBytes: PIECE, fileSizeBytes: PIECE };

const engine = new EngineHost({ port: 0, role: 'relay', stockPort: 0 });

afterEach(() => engine.stop());

/** Of an epoch that is whole; every epoch has these bytes. */
async function published(): Promise<PublishedTorrent> {
  const transfer = {
    completed: Promise.resolve(),
    bucket: new TokenBucket({ rateBytesPerSecond: undefined, capacityBytes: 0 }, 0),
    feed: { hashOf: () => pieceHash(bytes, leafCountOf(sizes)) },
    read: async (_: number, offset: number, length: number) =>
      bytes.subarray(offset, offset + length),
  } as unknown as Transfer;
  const problems: unknown[] = [];
  const torrent = new PublishedTorrent(
    { name: 'one', layout },
    { transfer, stock: engine.stock, onProblem: (error) => problems.push(error) },
  );
  torrent.start();
  await expect.poll(() => torrent.ask()).toBeDefined();
  expect(problems).toEqual([]);
  return torrent;
}

/** Whether a client that knows the torrent is answered. */
async function isServed(infoHash: Uint8Array): Promise<boolean> {
  const socket = connect(engine.stock?.port as number, '127.0.0.1');
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    if (Buffer.concat(chunks).length >= STOCK_HANDSHAKE_BYTES) socket.destroy();
  });
  socket.on('error', () => {});
  socket.write(encodeStockHandshake(infoHash, randomBytes(20), true));
  await once(socket, 'close');
  return Buffer.concat(chunks).length >= STOCK_HANDSHAKE_BYTES;
}

it('is served as long as one of the epochs that have its bytes is there', async () => {
  await engine.start();
  const [first, second] = [await published(), await published()];
  const [infoHash] = wireHashesOf(loadTorrent(first.ask() as Buffer));
  expect(await isServed(infoHash as Buffer)).toBe(true);
  await first.stop();
  expect(await isServed(infoHash as Buffer)).toBe(true);
  await second.stop();
  expect(await isServed(infoHash as Buffer)).toBe(false);
});
