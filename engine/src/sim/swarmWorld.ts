import { generateFeedKeyPair } from '../feed/keys.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { Transport } from '../ports/transport.ts';
import { EngineHost } from '../session/host.ts';
import type { PullError } from '../session/originAnswer.ts';
import type { ListedPeer } from '../session/peerList.ts';
import type { TopUpRelay } from '../session/relayUrl.ts';
import { TopUp, type TopUpPolicy } from '../session/topUp.ts';
import type { Transfer } from '../session/transfer.ts';
import type { PeerRole } from '../wire/hello.ts';
import { DeafMember } from './deafMember.ts';
import { unnamedBy, wrongPullers } from './disputes.ts';
import { type DiskOptions, MemoryStore } from './memoryStore.ts';
import { flipped } from './mutation.ts';
import { type Member, neighboursOf } from './neighbours.ts';
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
import { ORIGIN, SimulatedEpoch } from './simulatedEpoch.ts';
import { SimulatedHttp } from './simulatedHttp.ts';
import { type OriginConduct, serveFiles } from './simulatedOrigin.ts';
import { type OriginSide, pullerOf, SimulatedOriginHelp } from './simulatedPull.ts';
import { SimulatedPorts, type Tamper } from './simulatedTransport.ts';
import { TrueFile } from './trueFile.ts';
import { VirtualClock } from './virtualClock.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly pieceCount: number;
  readonly pieceLengthBytes: number;
  /** Absent: one file of so many whole pieces. */
  readonly file?: TrueFile;
  readonly originRate: number;
  /** Whether the origin honours ranges; absent: it does. */
  readonly ranges?: boolean;
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
  /** What nodes may take of the origin by HTTP, all together; absent: nothing. */
  readonly topUpBytes?: number;
  /** Who knows whom; absent: everybody, and in large swarms some. */
  readonly neighbours?: (members: readonly Member[]) => ReadonlyMap<string, readonly string[]>;
}

export interface SimulatedPeer {
  readonly name: string;
  readonly role: PeerRole;
  readonly host: SimulatedHost;
  store: MemoryStore;
  engine: EngineHost;
  transfer: Transfer;
  topUp: TopUp | undefined;
  originHelp: SimulatedOriginHelp | undefined;
  /** Of a relay: with which it signs. Another one for each process. */
  pullerKey: Buffer | undefined;
  doneAtMs: number | undefined;
  failure: unknown;
  /** How its pulls failed. */
  readonly pullErrors: PullError[];
}

export const BITTORRENT_PORT = 6881;
const HTTP_PORT = 8081;
const PULL_RETRY_MS = 200;
const NEXT_ATTEMPT_MS = 1_000;
const RELAY_TOKEN = 'token';
/** What the kubelet needs to report a container's end. */
const ENDED_MS = 1_000;
/** How long relays may take what only nodes have before the origin gives it again. */
const SPREAD_MS = 10_000;
/** The link limits, not the lease, whose usable share is 95 %. */
const LIMIT_OVER_LINK = 1.1;
const ORIGIN_CONNECTIONS = 8;

/** A file, its origin, relays and nodes: everything but time, network and disk is the product. */
export class SwarmWorld {
  readonly clock = new VirtualClock();
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
  readonly relays: SimulatedPeer[] = [];
  readonly nodes: SimulatedPeer[] = [];
  readonly origin: SimulatedHost;
  originConduct: OriginConduct = { kind: 'good' };
  readonly #options: WorldOptions;
  readonly #ports: SimulatedPorts;
  readonly #http: SimulatedHttp;
  #epoch: SimulatedEpoch;
  readonly #stops = new AbortController();
  readonly #begun = new Set<SimulatedPeer>();

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
    const sizeBytes = pieceCount * pieceLengthBytes;
    const one = () => layoutOf([{ path: 'file.bin', sizeBytes }], pieceLengthBytes);
    this.#epoch = this.#epochOf(1, options.file ?? new TrueFile(one()));
    this.origin = this.network.add(ORIGIN, { upRate: originRate, downRate: originRate });
    const server = serveFiles({
      version: () => this.#epoch,
      conduct: () => this.originConduct,
      ranges: this.#hasRanges,
    });
    this.#http.serve(this.origin, 80, server);
    for (const [at, rates] of options.relays.entries()) {
      this.relays.push(this.#peer(`relay${at + 1}`, 'relay', rates));
    }
    for (const [at, rates] of options.nodes.entries()) {
      this.nodes.push(this.#peer(`node${at + 1}`, 'agent', rates));
    }
  }

  /** As it is at the origin now. */
  get file(): TrueFile {
    return this.#epoch.file;
  }

  /** What a puller that is gone has signed: a node that was there has it on its disk. */
  wholeFeed(): Buffer[] {
    return this.#epoch.wholeFeed();
  }

  /** From now on, on connections between peers. */
  tamper(tamper: Tamper): void {
    this.#ports.tamper = tamper;
  }

  /** From now on, in what servers answer by HTTP. */
  tamperHttp(tamper: Tamper): void {
    this.#http.tamper = tamper;
  }

  get swarmId(): Buffer {
    return this.#epoch.swarmId;
  }

  /** Of a host that is none of the nodes. */
  transportOf(name: string, rates: LinkRates): Transport {
    return this.#ports.transportOf(this.network.add(name, rates));
  }

  /** Knows the swarm's secret, and is none of the nodes. */
  deafMember(name: string, rates: LinkRates): DeafMember {
    return new DeafMember({
      clock: this.clock,
      random: this.random,
      transport: this.transportOf(name, rates),
      swarmId: this.swarmId,
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
    for (const relay of this.relays) if (!this.#begun.has(relay)) await this.start(relay);
    for (const node of nodes) await this.start(node);
    this.#tellPeers();
  }

  async start(peer: SimulatedPeer): Promise<void> {
    this.#begun.add(peer);
    await peer.engine.start();
    await this.#startTransfer(peer);
  }

  async #startTransfer(peer: SimulatedPeer): Promise<void> {
    const { transfer } = peer;
    peer.doneAtMs = undefined;
    peer.failure = undefined;
    await transfer.start();
    transfer.setRates({ maxRate: this.#options.maxRate });
    transfer.completed.then(() => {
      if (peer.transfer === transfer) peer.doneAtMs = this.clock.now();
    });
    transfer.failed.catch((error) => this.#failed(peer, transfer, error));
    if (peer.role === 'relay') this.#pull(peer);
    peer.topUp?.start();
  }

  /** An attempt ends with its transfer. A version that is revoked is put right by the next one. */
  #failed(peer: SimulatedPeer, transfer: Transfer, error: unknown): void {
    if (peer.transfer !== transfer) return;
    peer.failure = error;
    this.#stopTopUp(peer);
    peer.engine.removeTransfer(this.#epoch.swarmId.toString('hex'));
    const { code } = error as { readonly code?: string };
    if (code !== 'PieceRevoked') return;
    this.clock.setTimer(NEXT_ATTEMPT_MS, () => {
      if (peer.transfer === transfer && peer.host.isAlive) this.attempt(peer);
    });
  }

  /** The next one in the same process, after one that has failed. */
  async attempt(peer: SimulatedPeer): Promise<void> {
    Object.assign(peer, this.#transfer(peer));
    await this.#startTransfer(peer);
    this.#tellPeers();
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
    const names = new Set(this.#alive().map(({ name }) => name));
    const alive = holders.filter(({ host }) => host.isAlive);
    this.#epoch.leases.release(
      (holder) => !names.has(holder),
      (piece) => alive.some(({ transfer }) => transfer.holds(piece)),
    );
  }

  /** The same process again, with its disk. */
  async restart(peer: SimulatedPeer): Promise<void> {
    peer.host.isAlive = true;
    if (!peer.store.isOf(this.file)) this.#renewStore(peer);
    peer.engine = this.#engine(peer.host, peer.role);
    Object.assign(peer, this.#transfer(peer));
    await this.start(peer);
    this.#tellPeers();
  }

  /**
   * The origin has another version, and everybody who lives goes over to it: with the same process,
   * and what it has of the version before.
   */
  async nextEpoch(file: TrueFile): Promise<void> {
    const { number, swarmId } = this.#epoch;
    this.#epoch = this.#epochOf(number + 1, file);
    for (const peer of this.#alive()) {
      this.#stopTopUp(peer);
      await peer.engine.removeTransfer(swarmId.toString('hex'));
      this.#renewStore(peer);
      Object.assign(peer, this.#transfer(peer));
      if (this.#begun.has(peer)) await this.#startTransfer(peer);
    }
    this.#tellPeers();
  }

  /** For this epoch, with what stands there from the one before. */
  #renewStore(peer: SimulatedPeer): void {
    const hashes = [...peer.store.kept().values()];
    peer.store = this.#store(peer.name);
    for (const hash of hashes) peer.store.earlier.add(Buffer.from(hash).toString('hex'));
  }

  /** Signs under the distribution's certificate that these pieces are something else. */
  falseBatches(pieces: readonly number[]): Buffer[] {
    const other = (piece: number) => flipped(this.file.trueHash(piece));
    return this.#epoch.signer().sign(pieces.map((piece) => ({ piece, hash: other(piece) })));
  }

  /**
   * As the control server does, which reads disputed pieces at the origin: who signed something else
   * is believed no more, and what nobody else names is pulled again. Answers how many those are.
   */
  settleDisputes(): number {
    const wrong = wrongPullers(this.#alive(), this.file);
    const disputed = this.#alive().flatMap(({ transfer }) => [...transfer.feed.disputed]);
    for (const key of wrong) this.#epoch.revoke(key);
    for (const { transfer } of this.#alive()) transfer.revoke(wrong);
    const relays = this.relays.filter(({ host }) => host.isAlive);
    for (const peer of [...this.relays, ...this.nodes]) {
      // Where two were wrong together it was given up for what they said.
      peer.store.doubt([...disputed, ...unnamedBy([peer])]);
    }
    if (wrong.length > 0) this.#epoch.leases.free(unnamedBy(relays));
    return wrong.length;
  }

  /** As if its process had ended: others pull what it was to pull. */
  takeBack(relay: SimulatedPeer): void {
    this.#epoch.leases.release(
      (holder) => holder === relay.name,
      () => false,
    );
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
    for (const peer of this.#alive()) await this.#stop(peer);
  }

  /** Copies of the file that the origin has given away. */
  get originCopies(): number {
    return this.origin.sentBytes / this.file.bytes.byteLength;
  }

  #peer(name: string, role: PeerRole, rates: LinkRates): SimulatedPeer {
    const host = this.network.add(name, rates);
    const store = this.#store(name);
    const engine = this.#engine(host, role);
    const state = { doneAtMs: undefined, failure: undefined, pullErrors: [] };
    const peer = { name, role, host, store, engine };
    return { ...peer, ...state, ...this.#transfer(peer) };
  }

  #epochOf(number: number, file: TrueFile): SimulatedEpoch {
    const { originRate, originConnections, topUpBytes = 0 } = this.#options;
    const rateBytesPerSecond = originRate * LIMIT_OVER_LINK;
    const connections = originConnections ?? ORIGIN_CONNECTIONS;
    const leases = { rateBytesPerSecond, connections, ranges: this.#hasRanges, topUpBytes };
    return new SimulatedEpoch({ number, file, leases });
  }

  #store(name: string): MemoryStore {
    const { judge, file } = this.#epoch;
    const { disks, disk } = this.#options;
    return new MemoryStore(file, this.clock, (batch) => judge.intern(batch), disks?.[name] ?? disk);
  }

  #engine(host: SimulatedHost, role: PeerRole): EngineHost {
    const shared = {
      clock: this.clock,
      random: this.random,
      transport: this.#ports.transportOf(host),
    };
    const memory = this.#options.memory?.() ?? new SharedPieces(() => this.file);
    return new EngineHost({ port: BITTORRENT_PORT, role }, { ...shared, memory });
  }

  /** Of this epoch. */
  #transfer(peer: Pick<SimulatedPeer, 'name' | 'role' | 'host' | 'store' | 'engine'>) {
    const { name, role, host, store, engine } = peer;
    const { file, feedKey, judge, secret, revoked } = this.#epoch;
    const swarmId = this.#epoch.swarmId.toString('hex');
    const transfer = engine.addTransfer({
      swarmId,
      role,
      layout: file.layout,
      store,
      feedKey,
      judge,
      membership: openMembership,
      swarmSecret: secret,
    });
    transfer.revoke(revoked);
    if (role === 'relay') {
      this.#http.serve(host, HTTP_PORT, relayServer(swarmId, transfer, this.random));
      return { transfer, topUp: undefined, originHelp: undefined, pullerKey: undefined };
    }
    const pulling = () => this.#pullers().length;
    const originHelp = new SimulatedOriginHelp(name, transfer, this.#originSide(host), pulling);
    const topUp = new TopUp(
      { swarmId, relayToken: RELAY_TOKEN },
      { http: this.#http.sourceOf(host), clock: this.clock, target: transfer, origin: originHelp },
    );
    topUp.setPolicy(this.#options.topUp ?? { sources: ['relay'], isCarried: false });
    return { transfer, topUp, originHelp, pullerKey: undefined };
  }

  #originSide(host: SimulatedHost): OriginSide {
    const http = this.#http.sourceOf(host);
    return { epoch: this.#epoch, clock: this.clock, http, ranges: this.#hasRanges };
  }

  get #hasRanges(): boolean {
    return this.#options.ranges ?? true;
  }

  #alive(): SimulatedPeer[] {
    return [...this.relays, ...this.nodes].filter(({ host }) => host.isAlive);
  }

  async #stop(peer: SimulatedPeer): Promise<void> {
    // Not waited for: their ends need time to pass.
    this.#stopTopUp(peer);
    peer.engine.stop();
  }

  #stopTopUp({ topUp, originHelp }: SimulatedPeer): void {
    topUp?.stop();
    originHelp?.stop();
  }

  #tellPeers(): void {
    const isHttp = this.#options.topUp?.isCarried === true;
    const alive = this.#alive();
    const members = alive.map(({ name, role }) => ({ id: name, kind: role }));
    const lists = (this.#options.neighbours ?? ((all) => neighboursOf(all, this.random)))(members);
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

  /** Relays that may pull now. */
  #pullers(): SimulatedPeer[] {
    const { leases, revoked } = this.#epoch;
    const isRevoked = ({ pullerKey }: SimulatedPeer) =>
      pullerKey !== undefined && revoked.some((key) => key.equals(pullerKey));
    const able = this.relays.filter((each) => each.host.isAlive && !isRevoked(each));
    return able.slice(0, leases.holdersOf(able.length));
  }

  /** As a relay does: one grant after the other, as long as there is something to pull. */
  async #pull(peer: SimulatedPeer): Promise<void> {
    const { transfer, host, name } = peer;
    const side = this.#originSide(host);
    const { leases } = side.epoch;
    const keyPair = generateFeedKeyPair();
    peer.pullerKey = keyPair.publicKey;
    transfer.setSigner(side.epoch.signer(keyPair));
    const over = () => this.#stops.signal.aborted || !host.isAlive || transfer !== peer.transfer;
    const isFull = () => transfer.progress().verifiedPieces === transfer.pieceCount;
    while (!over()) {
      const pullers = this.#pullers();
      const mayPull = !isFull() && pullers.includes(peer);
      const grant = mayPull ? leases.grant(name, pullers.length) : undefined;
      if (grant === undefined) {
        await this.#sleep(PULL_RETRY_MS);
        continue;
      }
      const isFirst = transfer.progress().verifiedPieces === 0;
      const puller = pullerOf(side, grant, transfer, isFirst);
      puller.start();
      const end = await puller.ended;
      if (over()) return;
      await puller.close();
      if (end.kind === 'completed') continue;
      leases.giveBack(name, puller.unfinished());
      if (end.kind === 'failed') peer.pullErrors.push(end.error);
      await this.#sleep(PULL_RETRY_MS);
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(ms, resolve));
  }
}
