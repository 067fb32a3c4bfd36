/**
 * Real clients against the engine over loopback, each as seed and as downloader. What arrived is
 * judged by SHA-256 of every file.
 */

import { randomInt } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FileStore } from '@sluice/engine/adapters/file/fileStore.ts';
import { TokenBucket } from '@sluice/engine/pacing/tokenBucket.ts';
import type { Layout } from '@sluice/engine/pieces/layout.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import type { StockContent, StockSwarm } from '@sluice/engine/stock/stockSwarm.ts';
import { loadTorrent } from '@sluice/engine/torrent/loadTorrent.ts';
import { makeTorrent } from '@sluice/engine/torrent/makeTorrent.ts';
import type { Torrent } from '@sluice/engine/torrent/torrent.ts';
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  it,
  onTestFailed,
} from 'vitest';
import { installPackages } from '../cluster/install.ts';
import { run } from '../cluster/run.ts';
import type { ClientProcess } from './clientProcess.ts';
import {
  CLIENTS,
  type ClientStart,
  LIBTORRENT_CLIENT,
  PYTHON,
  type StockClient,
  VERSIONS,
  type Version,
} from './clients.ts';
import {
  addPads,
  type Digests,
  makeContent,
  PIECE_BYTES,
  SET_NAME,
  withoutEmpty,
  wrongFiles,
} from './content.ts';
import { startTracker, withoutLayers } from './localTracker.ts';

const PACKAGES: Readonly<Record<string, string>> = {
  aria2: 'aria2c',
  'python3-libtorrent': '/usr/share/doc/python3-libtorrent',
  'transmission-cli': 'transmission-cli',
};
const ARRIVAL_MS = 60_000;

let shared: string;
let contentFolder: string;
let digests: Digests;
const torrents = new Map<Version, Buffer>();

beforeAll(async () => {
  await installPackages('the interop suite', PACKAGES);
  shared = await mkdtemp(path.join(tmpdir(), 'sluice-interop-'));
  contentFolder = path.join(shared, 'content');
  digests = await makeContent(contentFolder);
  for (const version of VERSIONS) {
    const file = path.join(shared, `${version}.torrent`);
    const set = path.join(contentFolder, SET_NAME);
    await run(PYTHON, [LIBTORRENT_CLIENT, 'make', version, String(PIECE_BYTES), set, file]);
    torrents.set(version, await readFile(file));
  }
  await addPads(contentFolder, torrents.get('hybrid') as Buffer);
});

afterAll(() => rm(shared, { recursive: true, force: true }));

let folder: string;
let host: EngineHost;
let client: ClientProcess | undefined;

beforeEach(async () => {
  folder = await mkdtemp(path.join(shared, 'case-'));
  host = new EngineHost({ port: 0, role: 'relay', stockPort: 0 });
  await host.start();
});

afterEach(async () => {
  await client?.stop();
  client = undefined;
  await host.stop();
});

/** The engine's part in the torrent's swarm. */
async function engineSwarm(torrent: Torrent, content: StockContent): Promise<StockSwarm> {
  const bucket = new TokenBucket({ rateBytesPerSecond: undefined, capacityBytes: 0 }, 0);
  const swarm = host.stock?.add({ torrent, content, bucket, uploaded: () => {} });
  if (swarm === undefined) throw new Error('the listener for stock clients is off');
  await swarm.start();
  return swarm;
}

/** Out of the files, in memory that the disk's thread may have. */
async function pieceOf(layout: Layout, piece: number): Promise<Uint8Array> {
  const spans = layout.spans(piece).map(async ({ fileIndex, offset, sizeBytes }) => {
    const name = layout.files[fileIndex]?.path ?? '';
    const bytes = await readFile(path.join(contentFolder, SET_NAME, name));
    return bytes.subarray(offset, offset + sizeBytes);
  });
  const shared = new Uint8Array(new SharedArrayBuffer(layout.pieceSizeBytes(piece)));
  shared.set(Buffer.concat(await Promise.all(spans)));
  return shared;
}

/** The store of a node that has all of it, as a transfer would have filled it. */
async function filledStore({ layout }: Torrent): Promise<FileStore> {
  const store = new FileStore({
    folder: path.join(folder, 'engine/.sluice/1'),
    layout,
    link: path.join(folder, 'engine/placed'),
  });
  await store.open(AbortSignal.timeout(ARRIVAL_MS));
  for (let piece = 0; piece < layout.pieceCount; piece += 1) {
    await store.put(piece, await pieceOf(layout, piece));
  }
  await store.complete(AbortSignal.timeout(ARRIVAL_MS));
  return store;
}

/** A port that was free a moment ago, for clients that must be told one. */
/** Of a range from which the kernel gives no outgoing connection its port meanwhile. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

async function startClient(
  stock: StockClient,
  options: Pick<ClientStart, 'torrent' | 'folder' | 'port' | 'peerPort' | 'trackerUrl'>,
): Promise<void> {
  const scratch = path.join(folder, 'scratch');
  await mkdir(scratch, { recursive: true });
  const started = await stock.start({ ...options, scratch });
  const { stock: listener } = host;
  client = started;
  onTestFailed(() => {
    console.log(`${stock.name} said:\n${started.output}`);
    console.log('connections that ended:', listener?.closedConnections);
  });
}

const CASES = CLIENTS.flatMap((stock) =>
  VERSIONS.filter((version) => stock.cannot[version] === undefined).map(
    (version) => [stock.name, version, stock] as const,
  ),
);

/** From a seed of ours; the client may be given another form of the torrent. */
async function expectGiven(stock: StockClient, bytes: Buffer, clients = bytes): Promise<void> {
  const torrent = loadTorrent(bytes);
  const store = await filledStore(torrent);
  const seed = await engineSwarm(torrent, {
    kind: 'finished',
    readInto: async (piece, offset, into) =>
      into.set(await store.read(piece, offset, into.byteLength)),
  });
  const peerPort = host.stock?.port as number;
  const tracker = await startTracker(peerPort);
  try {
    const into = path.join(folder, 'client');
    const expected = stock.leavesOutEmpty === undefined ? digests : withoutEmpty(digests);
    await mkdir(into);
    const port = await freePort();
    const trackerUrl = tracker.url;
    await startClient(stock, { torrent: clients, folder: into, port, peerPort, trackerUrl });
    if (stock.isCalled !== undefined) seed.setPeers([{ host: '127.0.0.1', port }]);
    await expect
      .poll(() => wrongFiles(path.join(into, SET_NAME), expected), {
        timeout: ARRIVAL_MS,
        interval: 200,
      })
      .toEqual([]);
  } finally {
    await tracker.stop();
    await store.close();
  }
}

describe('the engine and stock clients', () => {
  it.each(CASES)('%s gets all of a %s torrent from it', async (_, version, stock) => {
    await expectGiven(stock, torrents.get(version) as Buffer);
  });

  it('name a finished set alike: its hybrid is the one that libtorrent makes of the files', async () => {
    const { layout, v1, v2 } = loadTorrent(torrents.get('hybrid') as Buffer);
    const hashes: Uint8Array[] = [];
    const store = new FileStore({ folder: path.join(folder, 'engine/1'), layout });
    await store.open(AbortSignal.timeout(ARRIVAL_MS));
    try {
      for (let piece = 0; piece < layout.pieceCount; piece += 1) {
        hashes.push((await store.put(piece, await pieceOf(layout, piece))).hash);
      }
      const set = {
        name: SET_NAME,
        layout,
        hashOf: (piece: number) => hashes[piece],
        read: (piece: number, offset: number, length: number) => store.read(piece, offset, length),
      };
      const made = loadTorrent(await makeTorrent(set, AbortSignal.timeout(ARRIVAL_MS)));
      expect([made.v1?.infoHash, made.v2?.infoHash]).toEqual([v1?.infoHash, v2?.infoHash]);
      expect(made.v2?.layers).toEqual(v2?.layers);
    } finally {
      await store.close();
    }
  });

  it('libtorrent gets the piece layers from it that its torrent lacks, and then all', async () => {
    const stock = CLIENTS.find(({ name }) => name === 'libtorrent') as StockClient;
    const bytes = torrents.get('v2') as Buffer;
    await expectGiven(stock, bytes, withoutLayers(bytes));
  });

  it.each(CASES)('%s gives it all of a %s torrent', async (_, version, stock) => {
    const bytes = torrents.get(version) as Buffer;
    const port = await freePort();
    await startClient(stock, {
      torrent: bytes,
      folder: contentFolder,
      port,
      peerPort: undefined,
      trackerUrl: undefined,
    });
    const torrent = loadTorrent(bytes);
    const placed = path.join(folder, 'engine/placed');
    const store = new FileStore({
      folder: path.join(folder, 'engine/.sluice/1'),
      layout: torrent.layout,
      link: placed,
    });
    const swarm = await engineSwarm(torrent, { kind: 'download', store });
    swarm.setPeers([{ host: '127.0.0.1', port }]);
    await Promise.race([swarm.completed, swarm.failed]);
    expect(await wrongFiles(placed, digests)).toEqual([]);
  });
});
