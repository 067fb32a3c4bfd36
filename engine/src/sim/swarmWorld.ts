import { randomBytes } from 'node:crypto';
import { encodeBatchList, FEED_LOG_HEADER, FEED_NEXT_HEADER } from '../feed/batchList.ts';
import { certify } from '../feed/certificate.ts';
import { FeedSigner } from '../feed/feedSigner.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { swarmIdOf } from '../feed/swarmId.ts';
import { layoutOf } from '../pieces/layout.ts';
import { EngineHost } from '../session/host.ts';
import { createPuller } from '../session/originPuller.ts';
import { TopUp, type TopUpPolicy } from '../session/topUp.ts';
import type { Transfer } from '../session/transfer.ts';
import { chooseTopUp } from '../topup/chooseTopUp.ts';
import type { PeerRole } from '../wire/hello.ts';
import { MemoryStore, TrueFile } from './memoryStore.ts';
import { type LinkRates, type SimulatedHost, SimulatedNetwork } from './network.ts';
import { SeededRandom } from './seededRandom.ts';
import { type HttpAnswer, type HttpAsked, SimulatedHttp } from './simulatedHttp.ts';
import { ETAG, inChunks, SimulatedLeases, serveFile } from './simulatedOrigin.ts';
import { SimulatedPorts, type Tamper } from './simulatedTransport.ts';
import { VirtualClock } from './virtualClock.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly pieceCount: number;
  readonly pieceLengthBytes: number;
  readonly originRate: number;
  readonly relays: readonly LinkRates[];
  readonly nodes: readonly LinkRates[];
  readonly delayMs?: number;
  /** Bytes per second that a disk takes. */
  readonly diskRate?: number;
  readonly topUp?: TopUpPolicy;
  readonly maxRate?: number;
}

export interface SimulatedPeer {
  readonly name: string;
  readonly role: PeerRole;
  readonly host: SimulatedHost;
  readonly store: MemoryStore;
  engine: EngineHost;
  transfer: Transfer;
  topUp: TopUp | undefined;
  doneAtMs: number | undefined;
  failure: unknown;
}

export const BITTORRENT_PORT = 6881;
const HTTP_PORT = 8081;
const ORIGIN = 'origin';
const RELAY_TOKEN = 'token';
/** What the kubelet needs to report a container's end. */
const ENDED_MS = 1_000;
/** The link limits, not the lease, whose usable share is 95 %. */
const LIMIT_OVER_LINK = 1.1;
/** As many peers as the tracker names. */
const NEIGHBOURS = 20;
/** Of a swarm that small everybody knows everybody. */
const SMALL = 24;

/** A file, its origin, relays and nodes: everything but time, network and disk is the product. */
export class SwarmWorld {
  readonly clock = new VirtualClock();
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
  readonly file: TrueFile;
  readonly relays: SimulatedPeer[] = [];
  readonly nodes: SimulatedPeer[] = [];
  readonly origin: SimulatedHost;
  readonly #options: WorldOptions;
  readonly #ports: SimulatedPorts;
  readonly #http: SimulatedHttp;
  readonly #leases: SimulatedLeases;
  readonly #keys = generateFeedKeyPair();
  readonly #secret = randomBytes(32);
  readonly #swarmId: Buffer;
  readonly #stops = new AbortController();
  #hasBegun = false;

  constructor(options: WorldOptions) {
    const { seed, pieceCount, pieceLengthBytes, originRate } = options;
    this.#options = options;
    this.random = new SeededRandom(seed);
    this.network = new SimulatedNetwork({ delayMs: options.delayMs ?? 0.5 }, this.clock);
    this.#ports = new SimulatedPorts(this.network, this.clock);
    this.#http = new SimulatedHttp(this.network, this.clock);
    const layout = layoutOf(
      [{ path: 'file.bin', sizeBytes: pieceCount * pieceLengthBytes }],
      pieceLengthBytes,
    );
    this.file = new TrueFile(contentOf(layout.totalBytes), layout);
    const owner = { uid: 'sim', epoch: 1, feedKey: this.#keys.publicKey };
    this.#swarmId = swarmIdOf(layout, owner);
    this.#leases = new SimulatedLeases({
      rateBytesPerSecond: originRate * LIMIT_OVER_LINK,
      pieceLengthBytes,
      pieceCount,
    });
    this.origin = this.network.add(ORIGIN, { upRate: originRate, downRate: originRate });
    this.#http.serve(this.origin, 80, serveFile(this.file));
    for (const [at, rates] of options.relays.entries()) {
      this.relays.push(this.#peer(`relay${at + 1}`, 'relay', rates));
    }
    for (const [at, rates] of options.nodes.entries()) {
      this.nodes.push(this.#peer(`node${at + 1}`, 'agent', rates));
    }
  }

  /** From now on, on connections between peers. */
  tamper(tamper: Tamper): void {
    this.#ports.tamper = tamper;
  }

  /** These nodes begin, and the first time the relays. */
  async begin(nodes: readonly SimulatedPeer[] = this.nodes): Promise<void> {
    if (!this.#hasBegun) for (const relay of this.relays) await this.start(relay);
    this.#hasBegun = true;
    for (const node of nodes) await this.start(node);
    this.#tellPeers();
  }

  async start(peer: SimulatedPeer): Promise<void> {
    await peer.engine.start();
    await peer.transfer.start();
    peer.transfer.setRates({ maxRate: this.#options.maxRate });
    peer.transfer.completed.then(() => {
      peer.doneAtMs = this.clock.now();
    });
    peer.transfer.failed.catch((error) => {
      peer.failure = error;
    });
    if (peer.role === 'relay') this.#pull(peer);
    peer.topUp?.start();
  }

  /** Its process ends as by SIGKILL; what is on its disk stays. */
  async kill(peer: SimulatedPeer): Promise<void> {
    this.network.kill(peer.host);
    await this.#stop(peer);
    this.clock.setTimer(ENDED_MS, () => {
      const others = this.relays.filter((other) => other !== peer && other.host.isAlive);
      this.#leases.release(peer.name, (piece) =>
        others.some(({ transfer }) => transfer.holds(piece)),
      );
    });
  }

  /** The same process again, with its disk. */
  async restart(peer: SimulatedPeer): Promise<void> {
    peer.host.isAlive = true;
    const { engine, transfer, topUp } = this.#parts(peer.host, peer.role, peer.store);
    peer.engine = engine;
    peer.transfer = transfer;
    peer.topUp = topUp;
    peer.doneAtMs = undefined;
    await this.start(peer);
    this.#tellPeers();
  }

  /** Until all of these that live have the file; false when they do not get it in this time. */
  run(maxSeconds: number, nodes: readonly SimulatedPeer[] = this.nodes): Promise<boolean> {
    const isOver = () =>
      nodes.every(({ doneAtMs, host }) => doneAtMs !== undefined || !host.isAlive);
    return this.clock.run(isOver, maxSeconds * 1000);
  }

  /** For so long, whatever happens. */
  pass(seconds: number): Promise<boolean> {
    return this.clock.run(() => false, seconds * 1000);
  }

  async stop(): Promise<void> {
    this.#stops.abort(new Error('the simulation is over'));
    for (const peer of [...this.relays, ...this.nodes])
      if (peer.host.isAlive) await this.#stop(peer);
  }

  /** Copies of the file that the origin has given away. */
  get originCopies(): number {
    return this.origin.sentBytes / this.file.bytes.byteLength;
  }

  #peer(name: string, role: PeerRole, rates: LinkRates): SimulatedPeer {
    const host = this.network.add(name, rates);
    const store = new MemoryStore(this.file, this.clock, this.#options.diskRate);
    const parts = this.#parts(host, role, store);
    return { name, role, host, store, doneAtMs: undefined, failure: undefined, ...parts };
  }

  #parts(host: SimulatedHost, role: PeerRole, store: MemoryStore) {
    const engine = new EngineHost(
      { port: BITTORRENT_PORT, role },
      { clock: this.clock, random: this.random, transport: this.#ports.transportOf(host) },
    );
    const swarmId = this.#swarmId.toString('hex');
    const transfer = engine.addTransfer({
      swarmId,
      role,
      layout: this.file.layout,
      store,
      feedKey: this.#keys.publicKey,
      swarmSecret: this.#secret,
    });
    if (role === 'relay') {
      this.#http.serve(host, HTTP_PORT, relayServer(transfer));
      return { engine, transfer, topUp: undefined };
    }
    const topUp = new TopUp(
      { swarmId, relayToken: RELAY_TOKEN },
      { http: this.#http.sourceOf(host), clock: this.clock, target: transfer },
    );
    topUp.setPolicy(this.#options.topUp ?? { sources: ['relay'], isCarried: false });
    return { engine, transfer, topUp };
  }

  async #stop({ engine, topUp }: SimulatedPeer): Promise<void> {
    // Not waited for: their ends need time to pass.
    topUp?.stop();
    engine.stop();
  }

  #tellPeers(): void {
    const isHttp = this.#options.topUp?.isCarried === true;
    const alive = [...this.relays, ...this.nodes].filter(({ host }) => host.isAlive);
    for (const peer of alive) {
      const others = alive.filter((other) => other !== peer);
      const chosen = others.length <= SMALL ? others : this.#some(others);
      const listed = chosen.map(({ name, role }) => ({
        id: name,
        role,
        host: name,
        port: BITTORRENT_PORT,
        httpPort: HTTP_PORT,
      }));
      peer.transfer.setPeers(isHttp && peer.role === 'agent' ? [] : listed);
      peer.topUp?.setRelays(listed.filter(({ role }) => role === 'relay'));
    }
  }

  /** All relays, and some of the nodes. */
  #some(others: readonly SimulatedPeer[]): SimulatedPeer[] {
    const nodes = others.filter(({ role }) => role === 'agent');
    const chosen = new Set(others.filter(({ role }) => role === 'relay'));
    const wanted = chosen.size + Math.min(NEIGHBOURS, nodes.length);
    while (chosen.size < wanted) {
      chosen.add(nodes[this.random.below(nodes.length)] as SimulatedPeer);
    }
    return [...chosen];
  }

  /** As a relay does: one grant after the other, until everything is somebody's. */
  async #pull(peer: SimulatedPeer): Promise<void> {
    const { transfer, host, name } = peer;
    const keyPair = generateFeedKeyPair();
    const { layout } = this.file;
    const whole = [{ first: 0, count: layout.pieceCount }];
    const certificate = certify(this.#keys, this.#swarmId, keyPair.publicKey, whole);
    transfer.setSigner(new FeedSigner({ swarmId: this.#swarmId, keyPair, certificate }));
    const pullers = () => this.relays.filter((each) => each.host.isAlive).length;
    const over = () => this.#stops.signal.aborted || !host.isAlive || transfer !== peer.transfer;
    while (!over() && transfer.progress().verifiedPieces < layout.pieceCount) {
      const grant = this.#leases.grant(name, pullers());
      if (grant === undefined) {
        await this.#sleep(200);
        continue;
      }
      const puller = createPuller(
        grant,
        this.clock.now(),
        {
          files: [
            {
              url: `http://${ORIGIN}/file.bin`,
              sizeBytes: layout.totalBytes,
              validator: { etag: ETAG },
            },
          ],
          headers: {},
          ranges: true,
          pieceLengthBytes: layout.pieceLengthBytes,
        },
        { http: this.#http.sourceOf(host), clock: this.clock, layout, target: transfer },
      );
      puller.start();
      const end = await puller.ended;
      if (over()) return;
      await puller.close();
      if (end.kind === 'failed') peer.failure = end.error;
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(ms, resolve));
  }
}

/** Top-up and feed over HTTP, as a relay serves them. */
function relayServer(transfer: Transfer): (asked: HttpAsked) => HttpAnswer | undefined {
  const sent = new Uint32Array(transfer.pieceCount);
  return ({ path, body }) => {
    if (path.includes('/feed?')) {
      const from = Number(new URL(path, 'http://relay').searchParams.get('from') ?? 0);
      const batches = [...transfer.feed.batches(from)];
      const headers = {
        [FEED_LOG_HEADER]: 'log',
        [FEED_NEXT_HEADER]: String(from + batches.length),
      };
      return { status: 200, headers, body: [encodeBatchList(batches)] };
    }
    const piece = chooseTopUp(body, {
      pieceCount: transfer.pieceCount,
      sent,
      holds: (each) => transfer.holds(each),
      assembles: (each) => transfer.assembles(each),
    });
    if (piece === undefined) return { status: 204, headers: {}, body: [] };
    sent[piece] = (sent[piece] ?? 0) + 1;
    const sizeBytes = transfer.pieceSizeBytes(piece);
    const headers = { 'sluice-piece': String(piece), 'content-length': String(sizeBytes) };
    return { status: 200, headers, body: pieceBody(transfer, piece, sizeBytes) };
  };
}

async function* pieceBody(transfer: Transfer, piece: number, sizeBytes: number) {
  if (transfer.holds(piece)) yield* inChunks(await transfer.read(piece, 0, sizeBytes));
  else yield* transfer.follow(piece, 0, new AbortController().signal);
}

/** Every piece differs from every other, and costs nothing to make. */
function contentOf(sizeBytes: number): Buffer {
  const content = Buffer.alloc(sizeBytes);
  for (let at = 0; at + 4 <= sizeBytes; at += 4_096) content.writeUInt32LE(at / 4_096 + 1, at);
  return content;
}
