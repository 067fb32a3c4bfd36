import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { NodeHttpSource } from '../adapters/http/nodeHttpSource.ts';
import { RelayServer, type ServedSwarm } from '../adapters/http/relayServer.ts';
import { systemClock } from '../adapters/systemClock.ts';
import { certify } from '../feed/certificate.ts';
import { FeedLog } from '../feed/feedLog.ts';
import { FeedSigner } from '../feed/feedSigner.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { pieceHash } from '../feed/pieceHash.ts';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import { TopUp, type TopUpTarget } from './topUp.ts';
import { uploadGate } from './uploadGate.ts';

const PIECE = 262_144;
const swarmId = randomBytes(20);
const TOKEN = 'a-token-of-this-swarm';
const distribution = generateFeedKeyPair();

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: () => boolean, timeoutMs = 20_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!what()) {
    if (performance.now() > end) throw new Error('it did not become so');
    await sleep(10);
  }
}

/** A relay's share of a swarm, in memory; `arrived` bytes of the last piece that is coming. */
class MemorySwarm implements ServedSwarm {
  readonly body: Buffer;
  readonly files;
  readonly feed: FeedLog;
  readonly pieceCount: number;
  readonly held = new Set<number>();
  coming: { piece: number; arrived: number } | undefined;
  uploadedBytes = 0;

  constructor(body: Buffer) {
    this.body = body;
    this.files = [{ path: 'dir/file one.bin', sizeBytes: body.length }];
    this.pieceCount = Math.ceil(body.length / PIECE);
    this.feed = new FeedLog({
      swarmId,
      feedKey: distribution.publicKey,
      pieceCount: this.pieceCount,
    });
  }

  sign(): void {
    const keyPair = generateFeedKeyPair();
    const extents = [{ first: 0, count: this.pieceCount }];
    const certificate = certify(distribution, swarmId, keyPair.publicKey, extents);
    const signer = new FeedSigner({ swarmId, keyPair, certificate });
    const pieces = Array.from({ length: this.pieceCount }, (_, piece) => ({
      piece,
      hash: pieceHash(this.bytesOf(piece), PIECE / 16_384),
    }));
    for (const batch of signer.sign(pieces)) this.feed.accept(batch);
  }

  bytesOf(piece: number): Buffer {
    return this.body.subarray(piece * PIECE, (piece + 1) * PIECE);
  }

  torrent(): Uint8Array | undefined {
    return this.held.size === this.pieceCount ? Buffer.from('the torrent') : undefined;
  }

  pieceSizeBytes(piece: number): number {
    return this.bytesOf(piece).length;
  }

  locate(piece: number) {
    return { fileIndex: 0, offset: piece * PIECE };
  }

  holds(piece: number): boolean {
    return this.held.has(piece);
  }

  assembles(piece: number): boolean {
    return this.coming?.piece === piece;
  }

  async arrival(signal: AbortSignal): Promise<void> {
    await sleep(5);
    signal.throwIfAborted();
  }

  async read(piece: number, offset: number, length: number): Promise<Uint8Array> {
    return this.bytesOf(piece).subarray(offset, offset + length);
  }

  async *follow(piece: number, offset: number, signal: AbortSignal) {
    let at = offset;
    while (at < this.pieceSizeBytes(piece)) {
      signal.throwIfAborted();
      const arrived = this.assembles(piece) ? (this.coming?.arrived ?? 0) : PIECE;
      if (arrived > at) yield this.bytesOf(piece).subarray(at, arrived);
      at = Math.max(at, arrived);
      await sleep(2);
    }
  }

  uploadLimit(): undefined {}

  async admit(): Promise<void> {}

  uploaded(bytes: number): void {
    this.uploadedBytes += bytes;
  }
}

async function relayOf(swarm: MemorySwarm, uploadRate?: number) {
  const bucket = new TokenBucket(
    { rateBytesPerSecond: uploadRate, capacityBytes: 65_536 },
    systemClock.now(),
  );
  const server = new RelayServer(
    { port: 0, host: '127.0.0.1', maxConnections: 100 },
    { admit: uploadGate(bucket, systemClock) },
  );
  const httpPort = await server.start();
  stops.push(() => server.stop());
  server.addSwarm(swarmId.toString('hex'), TOKEN, swarm);
  const base = `http://127.0.0.1:${httpPort}/v1/swarms/${swarmId.toString('hex')}`;
  return { server, httpPort, base };
}

/** A node with BitTorrent blocked: whatever it gets comes by HTTP. */
class BlockedNode implements TopUpTarget {
  readonly log: FeedLog;
  readonly swarm: MemorySwarm;
  readonly verified = new Set<number>();
  readonly bucket: TokenBucket;
  readonly savedBytes: number;
  readonly taken = new Set<number>();
  received = 0;
  mismatches = 0;

  constructor(swarm: MemorySwarm, maxRate?: number) {
    this.swarm = swarm;
    this.savedBytes = (maxRate ?? 0) / 4;
    this.bucket = new TokenBucket(
      { rateBytesPerSecond: maxRate, capacityBytes: this.savedBytes },
      systemClock.now(),
    );
    const { pieceCount } = swarm;
    this.log = new FeedLog({ swarmId, feedKey: distribution.publicKey, pieceCount });
  }

  get missing(): number[] {
    return [...Array(this.swarm.pieceCount).keys()].filter(
      (piece) => !this.verified.has(piece) && !this.taken.has(piece),
    );
  }

  lacksNamedPieces(): boolean {
    return this.missing.some((piece) => this.log.hashOf(piece) !== undefined);
  }

  hasUnnamedPieces(): boolean {
    return this.log.knownPieces < this.swarm.pieceCount;
  }

  acceptBatch(batch: Uint8Array): boolean {
    return this.log.accept(batch).refused !== undefined;
  }

  broke(error: unknown): void {
    throw error;
  }

  acceptablePieces(): Uint8Array {
    const bits = new Uint8Array(Math.ceil(this.swarm.pieceCount / 8));
    for (const piece of this.missing)
      bits[piece >> 3] = (bits[piece >> 3] ?? 0) | (128 >> (piece & 7));
    return bits;
  }

  pieceSizeBytes(piece: number): number {
    return this.swarm.pieceSizeBytes(piece);
  }

  receivedBytes() {
    return { bitTorrent: 0, relayHttp: this.received, origin: 0 };
  }

  admitDownload(bytes: number): boolean {
    return this.bucket.spend(bytes, systemClock.now());
  }

  refundDownload(bytes: number): void {
    this.bucket.refund(bytes, systemClock.now());
  }

  assemble(piece: number) {
    if (this.taken.has(piece) || this.verified.has(piece)) return undefined;
    this.taken.add(piece);
    const bytes = Buffer.alloc(this.pieceSizeBytes(piece));
    return {
      piece,
      sizeBytes: bytes.length,
      missing: () => [{ offset: 0, length: bytes.length }],
      write: (offset: number, chunk: Uint8Array) => {
        bytes.set(chunk, offset);
        this.received += chunk.byteLength;
      },
      finish: async () => {
        this.taken.delete(piece);
        const same = this.log.hashOf(piece)?.equals(pieceHash(bytes, PIECE / 16_384)) === true;
        if (same) this.verified.add(piece);
        else this.mismatches += 1;
        return same ? ('verified' as const) : ('mismatch' as const);
      },
      abort: () => this.taken.delete(piece),
    };
  }
}

function fetcherOf(node: BlockedNode, minRate?: number): TopUp {
  const fetcher = new TopUp(
    { swarmId: swarmId.toString('hex'), relayToken: TOKEN },
    { http: new NodeHttpSource(), clock: systemClock, target: node },
  );
  fetcher.setPolicy({ minRate, sources: ['relay'], isCarried: false });
  stops.push(() => fetcher.stop());
  return fetcher;
}

function fullSwarm(pieces: number): MemorySwarm {
  const swarm = new MemorySwarm(randomBytes(pieces * PIECE - 1000));
  swarm.sign();
  for (let piece = 0; piece < swarm.pieceCount; piece += 1) swarm.held.add(piece);
  return swarm;
}

describe('top-up over HTTP', () => {
  it('carries a node with blocked BitTorrent at its floor, feed included', async () => {
    // A small part of what one processor hashes: the floor is to decide, not the machine.
    const floor = 3_000_000;
    const swarm = fullSwarm(60);
    const { httpPort } = await relayOf(swarm);
    const node = new BlockedNode(swarm);
    const fetcher = fetcherOf(node, floor);
    fetcher.setRelays([{ id: 'r', host: '127.0.0.1', httpPort }]);
    const startMs = performance.now();
    fetcher.start();
    await until(() => node.received > 0);
    expect(performance.now() - startMs).toBeLessThan(2000);
    const perSecond: number[] = [];
    for (let second = 0; second < 3; second += 1) {
      const [before, beganMs] = [node.received, performance.now()];
      await sleep(1000);
      const seconds = (performance.now() - beganMs) / 1000;
      // A piece that is on its way counts when it is here.
      perSecond.push((node.received - before + PIECE) / seconds);
    }
    expect(Math.min(...perSecond.slice(1))).toBeGreaterThan(floor);
    expect(Math.max(...perSecond.slice(1))).toBeLessThan(floor * 1.6);
    await until(() => node.verified.size === swarm.pieceCount);
    expect(node.mismatches).toBe(0);
    expect(swarm.uploadedBytes).toBeGreaterThanOrEqual(swarm.body.length);
  });

  it('keeps to the cap of the node, however far below its floor that is', async () => {
    const swarm = fullSwarm(20);
    const { httpPort } = await relayOf(swarm);
    const cap = 2_000_000;
    const node = new BlockedNode(swarm, cap);
    const fetcher = fetcherOf(node, 20_000_000);
    fetcher.setRelays([{ id: 'r', host: '127.0.0.1', httpPort }]);
    const startMs = performance.now();
    fetcher.start();
    await until(() => node.received > 2 * cap);
    const seconds = (performance.now() - startMs) / 1000;
    // A piece that is larger than what is saved goes out whole and is paid for afterwards.
    expect(node.received).toBeLessThan(cap * seconds + PIECE + node.savedBytes);
  });

  it('never lets a node without a floor starve while a relay is reachable', async () => {
    const swarm = fullSwarm(20);
    const { httpPort } = await relayOf(swarm);
    const node = new BlockedNode(swarm);
    const fetcher = fetcherOf(node);
    fetcher.setRelays([
      { id: 'dead', host: '127.0.0.1', httpPort: 1 },
      { id: 'r', host: '127.0.0.1', httpPort },
    ]);
    const startMs = performance.now();
    fetcher.start();
    await until(() => node.verified.size === swarm.pieceCount);
    expect(performance.now() - startMs).toBeGreaterThan(3000);
  });

  it('leaves a relay that stalls and goes on with another', async () => {
    const silent = createServer((socket) => socket.on('error', () => {}));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    stops.push(async () => silent.close());
    const swarm = fullSwarm(40);
    const { httpPort } = await relayOf(swarm);
    const node = new BlockedNode(swarm);
    const fetcher = fetcherOf(node, 5_000_000);
    const stalled = (silent.address() as AddressInfo).port;
    fetcher.setRelays([
      { id: 'stalled', host: '127.0.0.1', httpPort: stalled },
      { id: 'r', host: '127.0.0.1', httpPort },
    ]);
    fetcher.start();
    await until(() => node.verified.size === swarm.pieceCount);
    await fetcher.stop();
  });
});

describe('the relay server', () => {
  const authorization = `Bearer ${TOKEN}`;

  it.each([
    ['/feed', {}, 401],
    ['/feed', { authorization: 'Bearer wrong' }, 401],
    ['/feed', { authorization: TOKEN }, 401],
    ['/torrent', {}, 401],
    ['/torrent', { authorization: 'Bearer wrong' }, 401],
    ['/torrent', { authorization }, 200],
    ['/pieces/3', { authorization }, 200],
    ['/pieces/99', { authorization }, 404],
    ['/pieces/-1', { authorization }, 404],
    ['/files/none', { authorization }, 404],
    ['/files/%zz', { authorization }, 404],
    ['/top-up', { authorization }, 405],
    ['/other', { authorization }, 404],
  ])('answers GET %s with %o by %d', async (path, headers, status) => {
    const { base } = await relayOf(fullSwarm(4));
    const answer = await fetch(base + path, { headers });
    await answer.arrayBuffer();
    expect(answer.status).toBe(status);
  });

  it('asks to come back for a torrent that is not made yet', async () => {
    const swarm = fullSwarm(4);
    swarm.held.delete(2);
    const { base } = await relayOf(swarm);
    const early = await fetch(`${base}/torrent`, { headers: { authorization } });
    expect([early.status, early.headers.get('retry-after')]).toEqual([503, '2']);
    swarm.held.add(2);
    const answer = await fetch(`${base}/torrent`, { headers: { authorization } });
    expect(answer.headers.get('content-type')).toBe('application/x-bittorrent');
    expect(await answer.text()).toBe('the torrent');
  });

  it.each([
    ['bytes=0-0', 206, 0, 1],
    ['bytes=262100-300000', 206, 262_100, 300_001],
    ['bytes=1000-', 206, 1000, 4 * PIECE - 1000],
    ['bytes=-10', 206, 4 * PIECE - 1010, 4 * PIECE - 1000],
    ['bytes=99999999-', 416, 0, 0],
  ])('serves a file by range %s', async (range, status, start, end) => {
    const swarm = fullSwarm(4);
    const { base } = await relayOf(swarm);
    const answer = await fetch(`${base}/files/dir/file%20one.bin`, {
      headers: { authorization, range },
    });
    expect(answer.status).toBe(status);
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect(bytes.equals(swarm.body.subarray(start, end))).toBe(true);
  });

  it('streams a piece while it is still being pulled', async () => {
    const swarm = new MemorySwarm(randomBytes(2 * PIECE));
    swarm.coming = { piece: 1, arrived: 1000 };
    const { base } = await relayOf(swarm);
    const answer = await fetch(`${base}/pieces/1`, { headers: { authorization } });
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    const first = await reader.read();
    expect(first.value?.byteLength).toBe(1000);
    swarm.coming = undefined;
    swarm.held.add(1);
    let bytes = 1000;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes += value.byteLength;
    }
    expect(bytes).toBe(PIECE);
  });

  it('sends what it has sent least, one body after the other', async () => {
    const { base } = await relayOf(fullSwarm(4));
    const pieces: (string | null)[] = [];
    for (let round = 0; round < 6; round += 1) {
      const answer = await fetch(`${base}/top-up`, {
        method: 'POST',
        headers: { authorization },
        body: Uint8Array.of(0b1110_0000),
      });
      await answer.arrayBuffer();
      pieces.push(answer.headers.get('sluice-piece'));
    }
    // Which of equals is first is left open.
    expect([pieces.slice(0, 3).sort(), pieces.slice(3).sort()]).toEqual([
      ['0', '1', '2'],
      ['0', '1', '2'],
    ]);
    const huge = await fetch(`${base}/top-up`, {
      method: 'POST',
      headers: { authorization },
      body: new Uint8Array(20_000),
    });
    expect(huge.status).toBe(413);
    const none = await fetch(`${base}/top-up`, {
      method: 'POST',
      headers: { authorization },
      body: Uint8Array.of(0),
    });
    expect(none.status).toBe(204);
  });

  it('sends no faster than the upload bucket lets it', async () => {
    const { base } = await relayOf(fullSwarm(8), 2_000_000);
    const startMs = performance.now();
    const answer = await fetch(`${base}/files/dir/file%20one.bin`, { headers: { authorization } });
    await answer.arrayBuffer();
    expect(performance.now() - startMs).toBeGreaterThan(700);
  });
});
