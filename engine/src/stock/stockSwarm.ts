import type { TokenBucket } from '../pacing/tokenBucket.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import type { Random } from '../ports/random.ts';
import type { PeerAddress, Transport } from '../ports/transport.ts';
import { PeerList } from '../session/peerList.ts';
import { cancelRequest, type Served, type Uploader } from '../session/uploader.ts';
import { type ConductFacts, faultOf } from '../swarm/conduct.ts';
import { chooseServed } from '../swarm/uploadSlots.ts';
import { HashAnswers } from '../torrent/hashAnswers.ts';
import { type Torrent, wireHashesOf } from '../torrent/torrent.ts';
import { type BlockRequest, type Message, WireError } from '../wire/codec.ts';
import type { HashRange } from '../wire/hashMessages.ts';
import type { StockConnection, StockOwner } from './stockConnection.ts';
import { StockDownload } from './stockDownload.ts';

/** Where the bytes are, or come to. */
export type StockContent =
  /** All of it is there, and somebody else's: it is only read, as much as `into` holds. */
  | {
      readonly kind: 'finished';
      readInto(piece: number, offset: number, into: Uint8Array): Promise<unknown>;
    }
  /** It is downloaded into this store, which is opened and closed here. */
  | { readonly kind: 'download'; readonly store: PieceStore };

export interface StockSwarmOptions {
  readonly torrent: Torrent;
  readonly content: StockContent;
  /** The distribution's own upload limit. */
  readonly bucket: TokenBucket;
  /** Payload that was sent. */
  readonly uploaded: (bytes: number) => void;
}

export interface StockSwarmDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly uploader: Uploader;
  readonly memory: PieceBuffers;
  readonly connect: (owner: StockOwner) => StockConnection;
}

const TICK_MS = 100;
/** Hosts that sent wrong bytes over connections of their own. */
const MAX_BANNED_HOSTS = 4096;

/** One torrent among stock clients: serves what is here, and downloads what is not. */
export class StockSwarm implements StockOwner, Served {
  /** All of it is verified and in its place. Never rejects; see `failed`. */
  readonly completed: Promise<void>;
  /** Rejects, with a coded error, when it cannot go on; never resolves. */
  readonly failed: Promise<never>;
  readonly pieceCount: number;
  readonly wireHashes: readonly Buffer[];
  readonly hasHashes: boolean;
  readonly bucket: TokenBucket;
  readonly #options: StockSwarmOptions;
  readonly #dependencies: StockSwarmDependencies;
  readonly #torrent: Torrent;
  readonly #held: Bitfield;
  readonly #answers: HashAnswers;
  readonly #download: StockDownload | undefined;
  readonly #peers: PeerList<StockConnection>;
  readonly #connections = new Map<number, StockConnection>();
  readonly #bannedHosts = new Set<string>();
  readonly #stopped = new AbortController();
  #timer: Timer | undefined;
  #tickedAtMs = 0;
  #isPlaced = false;
  #complete: () => void = () => {};
  #fail: (error: unknown) => void = () => {};

  constructor(options: StockSwarmOptions, dependencies: StockSwarmDependencies) {
    const { torrent, content, bucket } = options;
    const { clock, random, transport, memory, connect } = dependencies;
    this.#options = options;
    this.#dependencies = dependencies;
    this.#torrent = torrent;
    this.bucket = bucket;
    this.pieceCount = torrent.layout.pieceCount;
    this.wireHashes = wireHashesOf(torrent);
    this.hasHashes = torrent.v2 !== undefined;
    this.#held = new Bitfield(this.pieceCount);
    this.#answers = new HashAnswers(torrent.v2?.layers ?? [], torrent.layout.pieceLengthBytes);
    this.#peers = new PeerList({ clock, random, transport, connect: () => connect(this) });
    if (content.kind === 'download') {
      this.#download = new StockDownload(torrent, content.store, {
        clock,
        random,
        memory,
        onStored: (piece) => this.#stored(piece),
        onFreed: () => this.#pumpAll(false),
        onGuilty: (sender) => this.#ban(sender),
        onBroken: (error) => this.broke(error),
      });
    }
    this.completed = new Promise((resolve) => {
      this.#complete = resolve;
    });
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {});
  }

  get verifiedPieces(): number {
    return this.#held.count;
  }

  async start(): Promise<void> {
    const { signal } = this.#stopped;
    const standing = (await this.#download?.open(signal)) ?? this.#allPieces();
    if (signal.aborted) return;
    for (const piece of standing) this.#held.add(piece);
    this.#tickedAtMs = this.#dependencies.clock.now();
    this.#completeWhenFull();
    this.#tick();
  }

  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new Error('the torrent was stopped'));
    this.#timer?.cancel();
    this.#peers.stop();
    for (const connection of this.#connections.values()) connection.close('Stopped');
    this.#download?.stop();
    await this.#download?.store.close();
  }

  /** The complete list of those to call, by who downloads until it has all; others may call us. */
  setPeers(peers: readonly PeerAddress[]): void {
    if (!this.#stopped.signal.aborted) this.#peers.set(peers);
  }

  /* What connections tell. */

  opened(connection: StockConnection): void {
    if (this.#stopped.signal.aborted) {
      connection.close('Stopped');
      return;
    }
    if (connection.side === 'acceptor' && this.#bannedHosts.has(connection.remoteHost)) {
      connection.close('WrongBytes', 'its host is banned');
      return;
    }
    this.#connections.set(connection.number, connection);
    this.#peers.opened(connection);
    if (this.#held.count > 0 || connection.fast) connection.send(this.#holdings(connection));
  }

  received(connection: StockConnection, message: Message): void {
    switch (message.type) {
      case 'choke':
        if (connection.fast) break;
        // Without BEP 6 a choke refuses all that was asked for.
        this.#download?.refused(connection, connection.giveUpOutstanding());
        this.#pumpAll(false);
        break;
      case 'reject':
        if (connection.settle(message)) this.#download?.refused(connection, [message]);
        else connection.bear('reject');
        break;
      case 'request':
        this.#requested(connection, message);
        break;
      case 'cancel':
        connection.bear('cancel');
        cancelRequest(connection, message);
        break;
      default:
        break;
    }
  }

  has(connection: StockConnection, pieces: readonly number[]): void {
    for (const piece of pieces) this.#download?.peerHas(piece);
    this.#judge(connection);
  }

  findHashes(range: HashRange): Uint8Array | undefined {
    return this.#answers.find(range);
  }

  blockBegins(connection: StockConnection, block: BlockRequest): Uint8Array | undefined {
    return this.#download?.blockBegins(connection, block);
  }

  blockEnds(connection: StockConnection, block: BlockRequest, kept: boolean): void {
    connection.rate.received(block.length);
    const other = kept ? (this.#download?.blockEnds(connection, block) ?? 0) : 0;
    const late = this.#connections.get(other);
    // Only BEP 6 says what becomes of a cancelled request.
    if (late?.fast === true) late.send({ type: 'cancel', ...block });
  }

  idle(connection: StockConnection): void {
    this.#pump(connection, false);
  }

  drained(): void {
    this.#dependencies.uploader.pump();
  }

  closed(connection: StockConnection): void {
    this.#dependencies.uploader.remove(connection);
    this.#peers.closed(connection);
    if (!this.#connections.delete(connection.number)) return;
    this.#download?.peerLeft(connection);
    this.#pumpAll(false);
  }

  broke(error: unknown): void {
    if (!this.#stopped.signal.aborted) this.#fail(error);
  }

  /* What is served. */

  isSecondary(): boolean {
    return false;
  }

  /** Always from the store: a pad is in no piece's memory. */
  lend(): undefined {
    return undefined;
  }

  /** With zeros behind the end of a file, which version 1 counts to the piece. */
  async readInto(piece: number, offset: number, into: Uint8Array): Promise<void> {
    const { content } = this.#options;
    const left = this.#torrent.layout.pieceSizeBytes(piece) - offset;
    const own = Math.max(0, Math.min(into.byteLength, left));
    into.fill(0, own);
    if (own === 0) return;
    const bytes = into.subarray(0, own);
    if (content.kind === 'finished') await content.readInto(piece, offset, bytes);
    else await content.store.read(piece, offset, own, bytes);
  }

  /** What was finished stays so. */
  serves(): boolean {
    return true;
  }

  uploaded(bytes: number): void {
    this.#options.uploaded(bytes);
  }

  #allPieces(): number[] {
    return Array.from({ length: this.pieceCount }, (_, piece) => piece);
  }

  #holdings({ fast }: StockConnection): Message {
    if (fast && this.#held.full) return { type: 'haveAll' };
    if (fast && this.#held.count === 0) return { type: 'haveNone' };
    return { type: 'bitfield', bytes: this.#held.bytes.slice() };
  }

  #requested(connection: StockConnection, block: BlockRequest): void {
    const { piece, offset, length } = block;
    if (offset + length > this.#torrent.paddedSizeBytes(piece)) {
      throw new WireError('Malformed', `request behind the end of piece ${piece}`);
    }
    if (connection.servedSinceMs === undefined || !this.#held.has(piece)) {
      connection.bear('request');
      connection.send({ type: 'reject', piece, offset, length });
      return;
    }
    connection.requests.push({ piece, offset, length });
    this.#dependencies.uploader.add(connection, this);
  }

  /** Lets in and shuts out: it looks at all of them, so not each time that one says something. */
  #serve(): void {
    const now = this.#dependencies.clock.now();
    const candidates = [...this.#connections.values()].map((connection) => ({
      number: connection.number,
      interested: connection.remoteInterested,
      servedSinceMs: connection.servedSinceMs,
    }));
    const served = chooseServed(candidates, now);
    for (const connection of this.#connections.values()) {
      const isServed = connection.servedSinceMs !== undefined;
      if (isServed === served.has(connection.number)) continue;
      connection.servedSinceMs = isServed ? undefined : now;
      connection.send({ type: isServed ? 'choke' : 'unchoke' });
      if (!isServed) continue;
      // BEP 6 wants an answer to each; without it a choke is the answer.
      const refused = connection.requests.splice(0);
      connection.send(...refused.map((block) => ({ type: 'reject' as const, ...block })));
    }
  }

  /* What is downloaded. */

  /** Whether it is of use, after it has told what it has. */
  #judge(connection: StockConnection): void {
    if (this.#held.full && connection.remoteHas.full) {
      connection.close('Complete');
      return;
    }
    const wants = this.#download?.wantsOf(connection.remoteHas) === true;
    if (wants === connection.interested) return;
    connection.interested = wants;
    connection.send({ type: wants ? 'interested' : 'notInterested' });
  }

  #stored(piece: number): void {
    this.#held.add(piece);
    for (const connection of [...this.#connections.values()]) {
      if (!connection.remoteHas.has(piece)) connection.send({ type: 'have', piece });
      if (this.#held.full) this.#judge(connection);
    }
    this.#completeWhenFull();
  }

  #completeWhenFull(): void {
    if (!this.#held.full || this.#isPlaced) return;
    this.#isPlaced = true;
    const placing = this.#download?.store.complete(this.#stopped.signal) ?? Promise.resolve();
    placing.then(
      () => this.#complete(),
      (error) => this.broke(error),
    );
  }

  /** Whom we called by the address, who called us by the host: it may call from any port. */
  #ban(sender: number): void {
    this.#peers.ban(sender);
    const connection = this.#connections.get(sender);
    if (connection?.side !== 'acceptor') return;
    if (this.#bannedHosts.size < MAX_BANNED_HOSTS) this.#bannedHosts.add(connection.remoteHost);
    connection.close('WrongBytes');
  }

  #pumpAll(seeksLate: boolean): void {
    for (const connection of this.#connections.values()) this.#pump(connection, seeksLate);
  }

  #pump(connection: StockConnection, seeksLate: boolean): void {
    if (this.#download === undefined || this.#held.full || this.#stopped.signal.aborted) return;
    let outstandingBytes = 0;
    for (const each of this.#connections.values()) outstandingBytes += each.outstandingBytes;
    this.#download.pump(connection, outstandingBytes, seeksLate);
  }

  #tick(): void {
    const { clock } = this.#dependencies;
    const now = clock.now();
    const elapsedMs = now - this.#tickedAtMs;
    this.#tickedAtMs = now;
    for (const connection of [...this.#connections.values()]) {
      connection.rate.tick(elapsedMs, connection.outstandingBytes > 0);
      // As acceptors are judged: either side is to say at least that it lives.
      const fault = faultOf({ ...factsOf(connection), side: 'acceptor' }, now);
      if (fault === undefined) connection.keepAlive(now);
      else connection.close(fault);
    }
    this.#serve();
    if (this.#download === undefined || !this.#held.full) this.#peers.connectDue();
    this.#pumpAll(true);
    this.#timer = clock.setTimer(TICK_MS, () => this.#tick());
  }
}

/** A copy, since a getter is no property that could be spread. */
function factsOf({
  lastReceivedAtMs,
  outstandingBytes,
  lastBlockAtMs,
  queuedBytes,
  lastTakenAtMs,
}: StockConnection): Omit<ConductFacts, 'side'> {
  return { lastReceivedAtMs, outstandingBytes, lastBlockAtMs, queuedBytes, lastTakenAtMs };
}
