import { randomBytes } from 'node:crypto';
import { BatchVerifier } from '../feed/batchJudge.ts';
import { certify } from '../feed/certificate.ts';
import { FeedSigner } from '../feed/feedSigner.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { swarmIdOf } from '../feed/swarmId.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import { EngineHost } from '../session/host.ts';
import type { PullError } from '../session/originAnswer.ts';
import { createPuller } from '../session/originPuller.ts';
import type { ListedPeer } from '../session/peerList.ts';
import type { TopUpRelay } from '../session/relayUrl.ts';
import { TopUp, type TopUpPolicy } from '../session/topUp.ts';
import type { Transfer } from '../session/transfer.ts';
import type { PeerRole } from '../wire/hello.ts';
import { DeafMember } from './deafMember.ts';
import { type DiskOptions, MemoryStore } from './memoryStore.ts';
import {
  type LinkRates,
  type NetworkOptions,
  type SimulatedHost,
  SimulatedNetwork,
} from './network.ts';
import { openMembership } from './openMembership.ts';
import { SharedPieces } from './pieceView.ts';
import { relayServer } from './relayServer.ts';
import { SeededRandom } from './seededRandom.ts';
import { SharedJudge } from './sharedJudge.ts';
import { SimulatedHttp } from './simulatedHttp.ts';
import { ETAG, type OriginConduct, SimulatedLeases, serveFile } from './simulatedOrigin.ts';
import { SimulatedPorts, type Tamper } from './simulatedTransport.ts';
import { TrueFile } from './trueFile.ts';
import { VirtualClock } from './virtualClock.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly pieceCount: number;
  readonly pieceLengthBytes: number;
  readonly originRate: number;
  readonly relays: readonly LinkRates[];
  readonly nodes: readonly LinkRates[];
  readonly delayMs?: number;
  /** Of all hosts, and of some. */
  readonly disk?: DiskOptions;
  readonly disks?: Readonly<Record<string, DiskOptions>>;
  readonly topUp?: TopUpPolicy;
  readonly maxRate?: number;
  /** Of each process; absent: as much as it likes. */
  readonly memory?: () => PieceBuffers;
  readonly network?: Omit<NetworkOptions, 'delayMs'>;
  /** What the origin allows; a pull takes up to two of them. */
  readonly originConnections?: number;
  /** Who knows whom; absent: everybody, and in large swarms some. */
  readonly neighbours?: (members: readonly Member[]) => ReadonlyMap<string, readonly string[]>;
}

export interface Member {
  readonly id: string;
  readonly kind: PeerRole;
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
  /** How its pulls failed. */
  readonly pullErrors: PullError[];
}

export const BITTORRENT_PORT = 6881;
const HTTP_PORT = 8081;
const PULL_RETRY_MS = 200;
const ORIGIN = 'origin';
const RELAY_TOKEN = 'token';
/** What the kubelet needs to report a container's end. */
const ENDED_MS = 1_000;
/** How long relays may take what only nodes have before the origin gives it again. */
const SPREAD_MS = 10_000;
/** The link limits, not the lease, whose usable share is 95 %. */
const LIMIT_OVER_LINK = 1.1;
const ORIGIN_CONNECTIONS = 8;
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
  originConduct: OriginConduct = { kind: 'good' };
  readonly #options: WorldOptions;
  readonly #ports: SimulatedPorts;
  readonly #http: SimulatedHttp;
  readonly #leases: SimulatedLeases;
  readonly #keys = generateFeedKeyPair();
  readonly #secret = randomBytes(32);
  readonly #swarmId: Buffer;
  readonly #judge: SharedJudge;
  readonly #stops = new AbortController();
  #hasBegun = false;

  constructor(options: WorldOptions) {
    const { seed, pieceCount, pieceLengthBytes, originRate } = options;
    this.#options = options;
    this.random = new SeededRandom(seed);
    this.network = new SimulatedNetwork(
      { ...options.network, delayMs: options.delayMs ?? 0.5 },
      this.clock,
    );
    this.#ports = new SimulatedPorts(this.network);
    this.#http = new SimulatedHttp(this.network, this.clock);
    const layout = layoutOf(
      [{ path: 'file.bin', sizeBytes: pieceCount * pieceLengthBytes }],
      pieceLengthBytes,
    );
    this.file = new TrueFile(layout);
    const owner = { uid: 'sim', epoch: 1, feedKey: this.#keys.publicKey };
    this.#swarmId = swarmIdOf(layout, owner);
    this.#judge = new SharedJudge(
      new BatchVerifier({ swarmId: this.#swarmId, feedKey: this.#keys.publicKey }),
    );
    this.#leases = new SimulatedLeases({
      rateBytesPerSecond: originRate * LIMIT_OVER_LINK,
      pieceLengthBytes,
      pieceCount,
      connections: options.originConnections ?? ORIGIN_CONNECTIONS,
    });
    this.origin = this.network.add(ORIGIN, { upRate: originRate, downRate: originRate });
    this.#http.serve(
      this.origin,
      80,
      serveFile(this.file, () => this.originConduct),
    );
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

  /** From now on, in what servers answer by HTTP. */
  tamperHttp(tamper: Tamper): void {
    this.#http.tamper = tamper;
  }

  /** Knows the swarm's secret, and is none of the nodes. */
  deafMember(name: string, rates: LinkRates): DeafMember {
    return new DeafMember({
      clock: this.clock,
      random: this.random,
      transport: this.#ports.transportOf(this.network.add(name, rates)),
      swarmId: this.#swarmId,
      pieceCount: this.file.layout.pieceCount,
    });
  }

  /** Bytes that nodes received and did not need; what a node had before it began counts for it. */
  duplicateBytes(): number {
    return this.nodes.reduce((sum, { transfer }) => {
      const { received, verifiedBytes } = transfer.progress();
      const all = received.fromPeers + received.fromRelays + received.fromRelayHttp;
      return sum + Math.max(0, all + received.fromOrigin - verifiedBytes);
    }, 0);
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
    this.clock.setTimer(ENDED_MS, () => this.#releaseLost([...this.relays, ...this.nodes]));
    this.clock.setTimer(ENDED_MS + SPREAD_MS, () => this.#releaseLost(this.relays));
  }

  /** What was pulled by who is gone, and none of these has, may be pulled again. */
  #releaseLost(holders: readonly SimulatedPeer[]): void {
    const isAlive = ({ host }: SimulatedPeer) => host.isAlive;
    const names = new Set([...this.relays, ...this.nodes].filter(isAlive).map(({ name }) => name));
    const alive = holders.filter(isAlive);
    this.#leases.release(
      (holder) => !names.has(holder),
      (piece) => alive.some(({ transfer }) => transfer.holds(piece)),
    );
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
    const isDone = ({ doneAtMs, host }: SimulatedPeer) => doneAtMs !== undefined || !host.isAlive;
    // Asked after every event: only the first that is not done is looked at.
    let first = 0;
    const isOver = () => {
      if (first < nodes.length && !isDone(nodes[first] as SimulatedPeer)) return false;
      first = nodes.findIndex((node) => !isDone(node));
      return first < 0;
    };
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
    const store = new MemoryStore(
      this.file,
      this.clock,
      (batch) => this.#judge.intern(batch),
      this.#options.disks?.[name] ?? this.#options.disk,
    );
    const parts = this.#parts(host, role, store);
    const state = { doneAtMs: undefined, failure: undefined, pullErrors: [] };
    return { name, role, host, store, ...state, ...parts };
  }

  #parts(host: SimulatedHost, role: PeerRole, store: MemoryStore) {
    const engine = new EngineHost(
      { port: BITTORRENT_PORT, role },
      {
        clock: this.clock,
        random: this.random,
        transport: this.#ports.transportOf(host),
        memory: this.#options.memory?.() ?? new SharedPieces(this.file),
      },
    );
    const swarmId = this.#swarmId.toString('hex');
    const transfer = engine.addTransfer({
      swarmId,
      role,
      layout: this.file.layout,
      store,
      feedKey: this.#keys.publicKey,
      judge: this.#judge,
      membership: openMembership,
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
    const members = alive.map(({ name, role }) => ({ id: name, kind: role }));
    const lists = (this.#options.neighbours ?? ((all) => this.#someOf(all)))(members);
    const listed = new Map(
      alive.map(({ name, role }): [string, ListedPeer] => [
        name,
        { id: name, role, host: name, port: BITTORRENT_PORT, httpPort: HTTP_PORT },
      ]),
    );
    for (const peer of alive) {
      const peers = (lists.get(peer.name) ?? []).map((name) => listed.get(name) as ListedPeer);
      peer.transfer.setPeers(isHttp && peer.role === 'agent' ? [] : peers);
      peer.topUp?.setRelays(peers.filter(({ role }) => role === 'relay') as TopUpRelay[]);
    }
  }

  /** Everybody, or all relays and some of the nodes. */
  #someOf(members: readonly Member[]): Map<string, string[]> {
    const relays = members.filter(({ kind }) => kind === 'relay').map(({ id }) => id);
    const nodes = members.filter(({ kind }) => kind === 'agent').map(({ id }) => id);
    return new Map(
      members.map(({ id }) => {
        const chosen = new Set(relays);
        if (members.length <= SMALL) for (const node of nodes) chosen.add(node);
        const wanted = relays.length + Math.min(NEIGHBOURS, nodes.length);
        while (chosen.size < wanted) chosen.add(nodes[this.random.below(nodes.length)] as string);
        chosen.delete(id);
        return [id, [...chosen]];
      }),
    );
  }

  /** As a relay does: one grant after the other, until everything is somebody's. */
  async #pull(peer: SimulatedPeer): Promise<void> {
    const { transfer, host, name } = peer;
    const keyPair = generateFeedKeyPair();
    const { layout } = this.file;
    const whole = [{ first: 0, count: layout.pieceCount }];
    const certificate = certify(this.#keys, this.#swarmId, keyPair.publicKey, whole);
    transfer.setSigner(new FeedSigner({ swarmId: this.#swarmId, keyPair, certificate }));
    const pullers = () => {
      const alive = this.relays.filter((each) => each.host.isAlive);
      return alive.slice(0, this.#leases.holdersOf(alive.length));
    };
    const over = () => this.#stops.signal.aborted || !host.isAlive || transfer !== peer.transfer;
    while (!over() && transfer.progress().verifiedPieces < layout.pieceCount) {
      const holders = pullers();
      const grant = holders.includes(peer) ? this.#leases.grant(name, holders.length) : undefined;
      if (grant === undefined) {
        await this.#sleep(PULL_RETRY_MS);
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
          isFirst: transfer.progress().verifiedPieces === 0,
        },
        { http: this.#http.sourceOf(host), clock: this.clock, layout, target: transfer },
      );
      puller.start();
      const end = await puller.ended;
      if (over()) return;
      await puller.close();
      if (end.kind === 'completed') continue;
      this.#leases.giveBack(name, puller.unfinished());
      if (end.kind === 'failed') peer.pullErrors.push(end.error);
      await this.#sleep(PULL_RETRY_MS);
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(ms, resolve));
  }
}
