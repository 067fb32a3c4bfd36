import { TokenBucket } from '../pacing/tokenBucket.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { Transport } from '../ports/transport.ts';
import { EngineHost } from '../session/host.ts';
import type { StockContent, StockSwarm } from '../stock/stockSwarm.ts';
import { buildTorrent, sha1Piece } from '../torrent/buildTorrent.ts';
import { loadTorrent } from '../torrent/loadTorrent.ts';
import { type Torrent, viewBytesOf, wireHashesOf } from '../torrent/torrent.ts';
import { decodeHello, encodeHello, HELLO_BYTES, PROOF_BYTES } from '../wire/hello.ts';
import { encodeStockHandshake, STOCK_HANDSHAKE_BYTES } from '../wire/stockHandshake.ts';
import { closedBy, type HostileVerdict } from './hostileWorld.ts';
import { MBIT } from './links.ts';
import { MemoryStore } from './memoryStore.ts';
import { SimulatedNetwork } from './network.ts';
import { openMembership } from './openMembership.ts';
import { SharedPieces } from './pieceView.ts';
import { wrongIn } from './randomWorld.ts';
import { SeededRandom } from './seededRandom.ts';
import { SimulatedPorts } from './simulatedTransport.ts';
import { clientMessage, memberMessage } from './spoiledMessages.ts';
import { type Speech, Stranger, type StrangerOptions } from './stranger.ts';
import { BITTORRENT_PORT, SwarmWorld } from './swarmWorld.ts';
import { TrueFile } from './trueFile.ts';
import { VirtualClock } from './virtualClock.ts';

const PIECE_BYTES = 262_144;
const STRANGERS = 8;
/** They speak for so long at least, and honest nodes are done by then or soon after. */
const SPEAKING_SECONDS = 8;
const MAX_SECONDS = 300;
const LINK = { upRate: 50 * MBIT, downRate: 50 * MBIT };
const STRANGER_LINK = { upRate: 100 * MBIT, downRate: 100 * MBIT };
const STOCK_PORT = 6889;
const STOCK_PIECE_BYTES = 65_536;
const STOCK_FILES = [
  { path: 'a/large', sizeBytes: 60 * STOCK_PIECE_BYTES + 333 },
  { path: 'b/empty', sizeBytes: 0 },
  { path: 'b/tiny', sizeBytes: 1 },
];
const NO_LIMIT = { rateBytesPerSecond: undefined, capacityBytes: 0 };

/**
 * A swarm whose members are called by others that know its secret, and say right and spoiled
 * messages in any order: it must be done in time, and close for reasons that have a name.
 */
export async function trySpoiledSessions(seed: number): Promise<HostileVerdict> {
  const random = new SeededRandom(seed);
  const world = new SwarmWorld({
    seed,
    pieceCount: 40 + random.below(40),
    pieceLengthBytes: PIECE_BYTES,
    originRate: 20 * MBIT,
    relays: [LINK],
    nodes: [LINK, LINK, LINK],
  });
  const all = [...world.relays, ...world.nodes];
  const { pieceCount } = world.file.layout;
  const said = { pieceCount, batches: world.wholeFeed() };
  const strangers = strangersOf({
    clock: world.clock,
    random,
    transportOf: (name) => world.transportOf(name, STRANGER_LINK),
    speech: () => memberSpeech(world.swarmId, random, () => memberMessage(said, random)),
    targets: all.map(({ name }) => ({ host: name, port: BITTORRENT_PORT })),
  });
  await world.begin();
  for (const stranger of strangers) stranger.start();
  await world.pass(SPEAKING_SECONDS);
  for (const stranger of strangers) stranger.stop();
  const isDone = await world.run(MAX_SECONDS);
  const problems = wrongIn(world);
  if (!isDone) problems.push(`nodes are not done after ${MAX_SECONDS} s`);
  const closed = closedBy(all.map(({ engine }) => engine));
  if (closed.has('InternalError')) problems.push('a message led to an error of ours');
  const seconds = Math.max(...world.nodes.map(({ doneAtMs }) => doneAtMs ?? 0)) / 1000;
  await world.stop();
  return { problems, seconds, spoiled: sumOf(strangers), closed };
}

interface Callers extends Pick<StrangerOptions, 'clock' | 'random' | 'targets'> {
  /** Of a new host. */
  readonly transportOf: (name: string) => Transport;
  /** Of each one its own. */
  readonly speech: () => Speech;
}

function strangersOf({ transportOf, speech, ...options }: Callers): Stranger[] {
  return Array.from({ length: STRANGERS }, (_, at) => {
    let calls = 0;
    const transport = () => {
      calls += 1;
      return transportOf(`stranger${at}-${calls}`);
    };
    return new Stranger({ ...options, transport, speech: speech() });
  });
}

/** Anybody who knows the secret, in the role of one that calls. */
function memberSpeech(swarmId: Buffer, random: SeededRandom, message: () => Buffer): Speech {
  let own = new Uint8Array();
  return {
    hello: () => {
      const role = random.below(2) === 0 ? 'relay' : 'agent';
      const [peerId, nonce] = [random.bytes(20), random.bytes(32)];
      const hello = encodeHello({ swarmId, peerId, nonce, role });
      own = Uint8Array.from(hello);
      return hello;
    },
    answer: (received) => {
      if (received.length < HELLO_BYTES + PROOF_BYTES) return undefined;
      const remote = decodeHello(received.subarray(0, HELLO_BYTES));
      return openMembership.prove(decodeHello(own), remote, 'opener');
    },
    message,
  };
}

/**
 * The same among ordinary clients: one that has all, one that downloads from it, and strangers who
 * call both.
 */
export async function trySpoiledStockSessions(seed: number): Promise<HostileVerdict> {
  const random = new SeededRandom(seed);
  const clock = new VirtualClock();
  const network = new SimulatedNetwork({ delayMs: 0.5 }, clock);
  const ports = new SimulatedPorts(network);
  const file = new TrueFile(layoutOf(STOCK_FILES, STOCK_PIECE_BYTES));
  const torrent = torrentOf(file);
  const engines: EngineHost[] = [];
  const swarmAt = async (name: string, content: StockContent): Promise<StockSwarm> => {
    const engine = new EngineHost(
      { port: BITTORRENT_PORT, role: 'relay', stockPort: STOCK_PORT },
      {
        clock,
        random,
        transport: ports.transportOf(network.add(name, LINK)),
        memory: new SharedPieces(() => file),
      },
    );
    engines.push(engine);
    await engine.start();
    const bucket = new TokenBucket(NO_LIMIT, clock.now());
    const swarm = engine.stock?.add({ torrent, content, bucket, uploaded: () => {} });
    if (swarm === undefined) throw new Error('the listener is off');
    await swarm.start();
    return swarm;
  };
  const whole = new MemoryStore(file, clock, (batch) => batch);
  const store = new MemoryStore(file, clock, (batch) => batch, { bytesPerSecond: 600_000 });
  await swarmAt('seed', {
    kind: 'finished',
    readInto: (piece, offset, into) => whole.read(piece, offset, into.byteLength, into),
  });
  const download = await swarmAt('downloader', { kind: 'download', store });
  download.setPeers([{ host: 'seed', port: STOCK_PORT }]);
  const hashes = wireHashesOf(torrent);
  const strangers = strangersOf({
    clock,
    random,
    transportOf: (name) => ports.transportOf(network.add(name, STRANGER_LINK)),
    speech: () => clientSpeech(hashes, random, file.layout.pieceCount),
    targets: ['seed', 'downloader'].map((host) => ({ host, port: STOCK_PORT })),
  });
  let doneAtMs: number | undefined;
  let failure: unknown;
  download.completed.then(() => {
    doneAtMs = clock.now();
  });
  download.failed.catch((error) => {
    failure = error;
  });
  for (const stranger of strangers) stranger.start();
  await clock.run(() => false, SPEAKING_SECONDS * 1000);
  for (const stranger of strangers) stranger.stop();
  const isOver = () => doneAtMs !== undefined || failure !== undefined;
  const problems: string[] = [];
  if (!(await clock.run(isOver, MAX_SECONDS * 1000))) problems.push('the client is not done');
  if (failure !== undefined) problems.push(String(failure));
  for (const [piece, hash] of store.kept()) {
    if (!file.trueHash(piece).equals(hash)) problems.push(`piece ${piece} is another one`);
  }
  const closed = closedBy(engines.flatMap(({ stock }) => stock ?? []));
  if (closed.has('InternalError')) problems.push('a message led to an error of ours');
  for (const engine of engines) await engine.stop();
  const seconds = (doneAtMs ?? Number.POSITIVE_INFINITY) / 1000;
  return { problems, seconds, spoiled: sumOf(strangers), closed };
}

function clientSpeech(hashes: readonly Buffer[], random: SeededRandom, pieceCount: number): Speech {
  return {
    hello: () => {
      const hash = random.pick(hashes);
      return encodeStockHandshake(hash, random.bytes(20), random.below(2) === 0);
    },
    answer: (received) =>
      received.length < STOCK_HANDSHAKE_BYTES ? undefined : clientMessage(pieceCount, random),
    message: () => clientMessage(pieceCount, random),
  };
}

function torrentOf(file: TrueFile): Torrent {
  const { layout } = file;
  const pieces = Array.from({ length: layout.pieceCount }, (_, piece) => piece);
  const pieceHashes = pieces.map((piece) => file.trueHash(piece));
  const view = viewBytesOf(layout);
  const sha1Pieces = pieces.map((piece) => {
    const left = view - piece * layout.pieceLengthBytes;
    return sha1Piece(file.piece(piece), Math.min(layout.pieceLengthBytes, left));
  });
  return loadTorrent(buildTorrent({ name: 'set', layout, pieceHashes, sha1Pieces }));
}

function sumOf(strangers: readonly Stranger[]): number {
  return strangers.reduce((sum, { spoiled }) => sum + spoiled, 0);
}
