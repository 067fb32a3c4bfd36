import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import bencode from 'bencode';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileStore } from '../adapters/file/fileStore.ts';
import { leafCountOf, pieceHash } from '../feed/pieceHash.ts';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import { type Layout, type LayoutFile, layoutOf } from '../pieces/layout.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import { EngineHost } from '../session/host.ts';
import { encodeHashRequest } from '../sim/hashRequest.ts';
import { buildTorrent, sha1Piece } from '../torrent/buildTorrent.ts';
import { loadTorrent } from '../torrent/loadTorrent.ts';
import { type Torrent, viewBytesOf, wireHashesOf } from '../torrent/torrent.ts';
import { encode, KEEP_ALIVE, type Message } from '../wire/codec.ts';
import { encodeHashAnswer } from '../wire/hashMessages.ts';
import { decodeStockHandshake, encodeStockHandshake } from '../wire/stockHandshake.ts';
import type { StockContent, StockSwarm } from './stockSwarm.ts';

const PIECE = 65_536;
const FILES: readonly LayoutFile[] = [
  { path: 'a/large', sizeBytes: 20 * PIECE + 333 },
  { path: 'b/empty', sizeBytes: 0 },
  { path: 'b/tiny', sizeBytes: 1 },
  { path: 'c', sizeBytes: PIECE },
];

let root: string;
const hosts: EngineHost[] = [];

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-stock-'));
});

afterEach(async () => {
  for (const host of hosts.splice(0)) await host.stop();
  await rm(root, { recursive: true, force: true });
});

type Version = 'v1' | 'v1 with pads' | 'hybrid';
const VERSIONS: readonly Version[] = ['v1', 'v1 with pads', 'hybrid'];

/** Files, the torrent of them, and their bytes by piece. */
function setOf(version: Version) {
  const layout = layoutOf(FILES, PIECE, { aligned: version !== 'v1' });
  const bodies = layout.files.map(({ sizeBytes }) => randomBytes(sizeBytes));
  const pieces = Array.from({ length: layout.pieceCount }, (_, piece) =>
    Buffer.concat(
      layout.spans(piece).map(({ fileIndex, offset, sizeBytes }) => {
        return (bodies[fileIndex] as Buffer).subarray(offset, offset + sizeBytes);
      }),
    ),
  );
  const view = version === 'v1' ? layout.totalBytes : viewBytesOf(layout);
  const sha1Pieces = pieces.map((bytes, piece) =>
    sha1Piece(bytes, Math.min(PIECE, view - piece * PIECE)),
  );
  return { torrent: loadTorrent(torrentOf(version, layout, pieces, sha1Pieces)), bodies, pieces };
}

function torrentOf(
  version: Version,
  layout: Layout,
  pieces: readonly Buffer[],
  sha1Pieces: readonly Buffer[],
): Uint8Array {
  if (version === 'v1') {
    const files = FILES.map((file) => ({ path: file.path.split('/'), length: file.sizeBytes }));
    const hashes = Buffer.concat(sha1Pieces);
    return bencode.encode({ info: { name: 'set', 'piece length': PIECE, pieces: hashes, files } });
  }
  const pieceHashes = pieces.map((bytes, piece) => {
    const fileSizeBytes = layout.files[layout.locate(piece).fileIndex]?.sizeBytes ?? 0;
    const sizes = { sizeBytes: bytes.length, pieceLengthBytes: PIECE, fileSizeBytes };
    return pieceHash(bytes, leafCountOf(sizes));
  });
  const hybrid = buildTorrent({ name: 'set', layout, pieceHashes, sha1Pieces });
  if (version === 'hybrid') return hybrid;
  const { info } = bencode.decode(hybrid) as { info: Record<string, unknown> };
  return bencode.encode({ info: { ...info, 'file tree': undefined, 'meta version': undefined } });
}

async function newHost(uploadRateBytesPerSecond?: number): Promise<EngineHost> {
  const rate = uploadRateBytesPerSecond === undefined ? {} : { uploadRateBytesPerSecond };
  const host = new EngineHost({ port: 0, role: 'relay', stockPort: 0, ...rate });
  hosts.push(host);
  await host.start();
  return host;
}

async function swarmAt(
  host: EngineHost,
  torrent: Torrent,
  content: StockContent,
): Promise<StockSwarm> {
  const bucket = new TokenBucket({ rateBytesPerSecond: undefined, capacityBytes: 0 }, 0);
  const swarm = host.stock?.add({ torrent, content, bucket, uploaded: () => {} });
  if (swarm === undefined) throw new Error('the listener is off');
  await swarm.start();
  return swarm;
}

/** Gives from memory; `change` spoils what it reads. */
function given(
  pieces: readonly Buffer[],
  change: (bytes: Buffer, piece: number) => Buffer = (bytes) => bytes,
): StockContent {
  return {
    kind: 'finished',
    readInto: async (piece, offset, into) => {
      const bytes = (pieces[piece] as Buffer).subarray(offset, offset + into.byteLength);
      into.set(change(Buffer.from(bytes), piece));
    },
  };
}

function storeIn(name: string, torrent: Torrent): PieceStore {
  return new FileStore({
    folder: path.join(root, name, '.sluice/1'),
    layout: torrent.layout,
    link: path.join(root, name, 'placed'),
  });
}

async function expectPlaced(name: string, { layout }: Torrent, bodies: readonly Buffer[]) {
  for (const [at, file] of layout.files.entries()) {
    const bytes = await readFile(path.join(root, name, 'placed', file.path));
    expect(sha256(bytes)).toBe(sha256(bodies[at] as Buffer));
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function addressOf(host: EngineHost) {
  return { host: '127.0.0.1', port: host.stock?.port as number };
}

describe('a torrent among stock sessions', () => {
  it.each(VERSIONS)(
    'of %s goes from a seed to one that downloads, and on to a third',
    async (version) => {
      const { torrent, pieces, bodies } = setOf(version);
      const [a, b, c] = [await newHost(), await newHost(), await newHost()];
      await swarmAt(a, torrent, given(pieces));
      const second = await swarmAt(b, torrent, { kind: 'download', store: storeIn('b', torrent) });
      const third = await swarmAt(c, torrent, { kind: 'download', store: storeIn('c', torrent) });
      // Over one connection: the third calls, and gets from the second what that gets only now.
      third.setPeers([addressOf(b)]);
      second.setPeers([addressOf(a)]);
      await Promise.all([second.completed, third.completed]);
      await expectPlaced('b', torrent, bodies);
      await expectPlaced('c', torrent, bodies);
    },
  );

  it.each(VERSIONS)(
    'of %s is right although a peer sends wrong bytes, and that one is banned',
    async (version) => {
      const { torrent, pieces, bodies } = setOf(version);
      const [liar, honest, victim] = [await newHost(), await newHost(), await newHost()];
      const spoil = (bytes: Buffer) => bytes.fill(0, 0, 1).fill(1, 1, 3);
      await swarmAt(liar, torrent, given(pieces, spoil));
      await swarmAt(honest, torrent, given(pieces));
      const swarm = await swarmAt(victim, torrent, {
        kind: 'download',
        store: storeIn('v', torrent),
      });
      swarm.setPeers([addressOf(liar)]);
      await expect.poll(() => victim.stock?.closedConnections.get('WrongBytes')).toBe(1);
      expect(swarm.verifiedPieces).toBe(0);
      swarm.setPeers([addressOf(liar), addressOf(honest)]);
      await swarm.completed;
      await expectPlaced('v', torrent, bodies);
    },
  );

  it('goes on after a stop with what is on disk', async () => {
    const { torrent, pieces, bodies } = setOf('v1');
    const [seed, before] = [await newHost(500_000), await newHost()];
    await swarmAt(seed, torrent, given(pieces));
    const first = await swarmAt(before, torrent, {
      kind: 'download',
      store: storeIn('n', torrent),
    });
    first.setPeers([addressOf(seed)]);
    await expect.poll(() => first.verifiedPieces, { timeout: 10_000 }).toBeGreaterThan(2);
    await before.stop();
    const after = await newHost();
    const second = await swarmAt(after, torrent, {
      kind: 'download',
      store: storeIn('n', torrent),
    });
    expect(second.verifiedPieces).toBeGreaterThan(2);
    second.setPeers([addressOf(seed)]);
    await second.completed;
    await expectPlaced('n', torrent, bodies);
  });

  it('is served within the upload limit of the whole process', async () => {
    const { torrent, pieces } = setOf('hybrid');
    const rate = 1_000_000;
    const [seed, node] = [await newHost(rate), await newHost()];
    await swarmAt(seed, torrent, given(pieces));
    const swarm = await swarmAt(node, torrent, { kind: 'download', store: storeIn('n', torrent) });
    const startedAtMs = performance.now();
    swarm.setPeers([addressOf(seed)]);
    await swarm.completed;
    const seconds = (performance.now() - startedAtMs) / 1000;
    // A tenth of a second may be saved up, and one block goes out in debt.
    expect(torrent.layout.totalBytes).toBeLessThanOrEqual(rate * (seconds + 0.1) + 16_384);
  });

  it.each([
    ['version 1 by a client of version 1', 0, false, 0],
    ['version 1 by a client of version 2, which gets that of version 2', 0, true, 1],
    ['version 2', 1, true, 1],
  ] as const)('is found under the hash of %s', async (_, asked, version2, answered) => {
    const { torrent, pieces } = setOf('hybrid');
    const hashes = wireHashesOf(torrent);
    const seed = await newHost();
    await swarmAt(seed, torrent, given(pieces));
    const peer = await callWith(seed, hashes[asked] as Buffer, [], version2);
    await peer.until((bytes) => bytes.length >= 68);
    const answer = decodeStockHandshake(peer.received().subarray(0, 68));
    expect(answer).toMatchObject({ infoHash: hashes[answered], version2 });
    peer.socket.destroy();
  });

  it.each([
    ['as it stands', 2, true],
    ['not for leaves, which are not kept', 0, false],
  ])('has its piece layer told: %s', async (_, baseLayer, isThere) => {
    const { torrent, pieces } = setOf('hybrid');
    const [layer] = torrent.v2?.layers ?? [];
    const seed = await newHost();
    await swarmAt(seed, torrent, given(pieces));
    const range = {
      root: layer?.root as Buffer,
      baseLayer,
      index: 0,
      length: 2,
      proofLayers: 0,
    };
    const request = encodeHashRequest(range);
    const peer = await callWith(seed, wireHashesOf(torrent)[1] as Buffer, [request]);
    const expected = isThere ? layer?.hashes.subarray(0, 64) : undefined;
    const answer = encodeHashAnswer(range, expected);
    await peer.until((bytes) => bytes.includes(answer));
    peer.socket.destroy();
  });
});

/** A peer that says what the test says. */
async function callWith(
  host: EngineHost,
  infoHash: Uint8Array,
  first: readonly Uint8Array[] = [],
  version2 = true,
) {
  const socket: Socket = connect(addressOf(host));
  const chunks: Buffer[] = [];
  let isClosed = false;
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
  });
  const handshake = encodeStockHandshake(infoHash, randomBytes(20), version2);
  socket.write(Buffer.concat([handshake, ...first]));
  const received = () => Buffer.concat(chunks);
  return {
    socket,
    received,
    until: (test: (bytes: Buffer) => boolean) => expect.poll(() => test(received())).toBe(true),
    closed: () => expect.poll(() => isClosed).toBe(true),
  };
}

describe('a stock client that', () => {
  const request = (length: number, offset = 0, piece = 0): Message => ({
    type: 'request',
    piece,
    offset,
    length,
  });
  const cancel: Message = { type: 'cancel', piece: 0, offset: 0, length: 1 };
  const message = (id: number, ...body: number[]) =>
    Buffer.from([0, 0, 0, 1 + body.length, id, ...body]);
  /** The last ones are said before, and answered with an unchoke. */
  const cases: [string, Uint8Array[], string, Uint8Array[]?][] = [
    ['asks for more than 16 KiB at once', [encode(request(16_385))], 'Oversized'],
    [
      'asks for what is behind the end of a piece',
      [encode(request(16_384, PIECE - 1))],
      'Malformed',
    ],
    ['asks for a piece that is none', [encode(request(1, 0, 9_999))], 'Malformed'],
    ['sends a block that nobody asked for', [message(7, 0, 0, 0, 0, 0, 0, 0, 0, 1)], 'OutOfOrder'],
    [
      'says again and again what it has',
      Array.from({ length: 3000 }, () => encode({ type: 'haveNone' })),
      'Flooding',
    ],
    ['sends a bitfield of another length', [message(5, 1)], 'Malformed'],
    ['sends a message without an end', [Buffer.from([0x7f, 0, 0, 0, 4])], 'Oversized'],
    ['answers a request for hashes that nobody made', [message(22, 0)], 'OutOfOrder'],
    ['asks for hashes in too few bytes', [message(21, 0)], 'Malformed'],
    ['uses an extension that was not offered', [message(20, 1, 0)], 'OutOfOrder'],
    ['has a handshake of extensions that is broken', [message(20, 0, 0x64)], 'Malformed'],
    [
      'asks and asks while it is choked',
      Array.from({ length: 3000 }, () => encode(request(16_384))),
      'Flooding',
    ],
    [
      'asks for more at once than it was told',
      [...Array.from({ length: 3000 }, () => encode(request(1)))],
      'Oversized',
      [encode({ type: 'interested' })],
    ],
    [
      'asks and cancels without end',
      Array.from({ length: 3000 }, () =>
        Buffer.concat([request(1), cancel].map((each) => encode(each))),
      ),
      'Flooding',
      [encode({ type: 'interested' })],
    ],
    ['says without end that it lives', Array.from({ length: 3000 }, () => KEEP_ALIVE), 'Flooding'],
    [
      'says interested without end',
      Array.from({ length: 3000 }, () => encode({ type: 'interested' })),
      'Flooding',
    ],
    [
      'sends unknown messages without end',
      Array.from({ length: 3000 }, () => message(99)),
      'Flooding',
    ],
  ];
  it.each(cases)(
    '%s is left, by that name, and the others notice nothing',
    async (_, bytes, reason, before) => {
      const { torrent, pieces, bodies } = setOf('hybrid');
      const [seed, node] = [await newHost(), await newHost()];
      await swarmAt(seed, torrent, given(pieces));
      const swarm = await swarmAt(node, torrent, {
        kind: 'download',
        store: storeIn('n', torrent),
      });
      const first = [KEEP_ALIVE, ...(before ?? bytes)];
      const bad = await callWith(seed, wireHashesOf(torrent)[0] as Buffer, first);
      if (before !== undefined) {
        await bad.until((received) => received.includes(encode({ type: 'unchoke' })));
        bad.socket.write(Buffer.concat(bytes));
      }
      await bad.closed();
      expect(seed.stock?.closedConnections.get(reason as never)).toBe(1);
      swarm.setPeers([addressOf(seed)]);
      await swarm.completed;
      await expectPlaced('n', torrent, bodies);
    },
  );

  it('asks for another torrent is left', async () => {
    const seed = await newHost();
    const stranger = await callWith(seed, randomBytes(20));
    await stranger.closed();
    expect(seed.stock?.closedConnections.get('OutOfOrder')).toBe(1);
  });
});
