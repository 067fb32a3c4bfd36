import type { FeedLog } from '../feed/feedLog.ts';
import type { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Bitfield } from '../pieces/bitfield.ts';
import type { Layout } from '../pieces/layout.ts';
import type { Clock } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { Random } from '../ports/random.ts';
import type { Transport } from '../ports/transport.ts';
import { faultOf } from '../swarm/conduct.ts';
import { FeedGaps, subscribeTo } from '../swarm/feedSources.ts';
import { hasOrphans } from '../swarm/orphans.ts';
import { OwnRate } from '../swarm/ownRate.ts';
import type { PiecePicker } from '../swarm/piecePicker.ts';
import { type BlockRequest, FEED_WANTED, type Message, WireError } from '../wire/codec.ts';
import type { PeerRole } from '../wire/hello.ts';
import { Announcer } from './announcer.ts';
import { Connections } from './connections.ts';
import type { Intake } from './intake.ts';
import type { Membership } from './membership.ts';
import type { ConnectionOwner, PeerConnection } from './peerConnection.ts';
import { type ListedPeer, PeerList } from './peerList.ts';
import { cancelRequest, type Served, type Uploader } from './uploader.ts';

export interface ExchangeOptions {
  readonly swarmId: Buffer;
  readonly membership: Membership;
  readonly role: PeerRole;
  readonly layout: Layout;
  readonly blockBytes: number;
}

export interface ExchangeDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly uploader: Uploader;
  readonly connect: (owner: ConnectionOwner) => PeerConnection;
  readonly feed: FeedLog;
  readonly picker: PiecePicker;
  /** Pieces that are verified, on disk and announced, whatever became of them since. */
  readonly offered: Bitfield;
  readonly intake: Intake;
  readonly memory: PieceBuffers;
  readonly downloadBucket: TokenBucket;
  readonly served: Served;
  /** Whether to ask for pieces at all now. */
  readonly wantsPieces: () => boolean;
  /** Whether bytes come from the origin now. */
  readonly isPulling: () => boolean;
  /** Answers whether its sender is at fault. */
  readonly acceptBatch: (batch: Uint8Array) => boolean;
  readonly onPayload: (from: PeerRole, bytes: number) => void;
  /** By its address: it sent wrong bytes of the piece. */
  readonly onBanned: (peer: string, piece: number) => void;
  readonly onBroken: (error: unknown) => void;
}

/** Outstanding, and waiting for hash and disk; above it nothing is asked for. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;
/**
 * What a relay asks for while agents take from it and from each other: their uplinks, and its
 * peers', are for them first. Of two peers, so that a silent one does not hold it up.
 */
const GIVING_WAY_BLOCKS = 2;
/** Few peers have the same piece in the beginning: with large pieces too, so many give at once. */
const MIN_COMING_IN = 8;
const FEED_QUEUE_BYTES = 1_048_576;

/** What this process and its peers give each other of one swarm. */
export class Exchange implements ConnectionOwner {
  readonly swarmId: Buffer;
  readonly membership: Membership;
  readonly pieceCount: number;
  readonly #options: ExchangeOptions;
  readonly #dependencies: ExchangeDependencies;
  readonly #peers: PeerList<PeerConnection>;
  readonly #connections = new Connections();
  readonly #announcer: Announcer;
  /** Asked of all of them. */
  #outstandingBytes = 0;
  readonly #ownRate = new OwnRate();
  readonly #gaps = new FeedGaps();
  /** Until the connection ends: who drops a piece begins its connections anew. */
  readonly #disbelieved = new WeakMap<PeerConnection, Set<number>>();
  #waitsForMemory = false;
  #givesWay = false;
  #stopped = false;

  constructor(options: ExchangeOptions, dependencies: ExchangeDependencies) {
    this.swarmId = options.swarmId;
    this.membership = options.membership;
    this.pieceCount = options.layout.pieceCount;
    this.#options = options;
    this.#dependencies = dependencies;
    this.#announcer = new Announcer(options, { ...dependencies, connections: this.#connections });
    const { clock, random, transport, connect } = dependencies;
    this.#peers = new PeerList({ clock, random, transport, connect: () => connect(this) });
  }

  stop(): void {
    this.#stopped = true;
    this.#announcer.stop();
    this.#peers.stop();
    for (const connection of this.#connections) connection.close('Stopped');
  }

  /** Whether there are peers that take from us: who needs nothing more has left. */
  get hasTakers(): boolean {
    return this.#connections.hasTakers();
  }

  /** Of blocks that are on their way, and count as payload when they are whole. */
  get arrivingBytes(): number {
    let bytes = 0;
    for (const connection of this.#connections) bytes += connection.arrivingBytes;
    return bytes;
  }

  /** The complete list. */
  setPeers(peers: readonly ListedPeer[]): void {
    this.#peers.set(peers);
  }

  /** Peers of which nothing is needed are left; those who need us stay. */
  connect(): void {
    const { offered, feed } = this.#dependencies;
    const done = offered.full && feed.knownPieces === this.pieceCount;
    if (done) this.#peers.closeAll('Complete');
    else this.#peers.connectDue();
  }

  tick(elapsedMs: number): void {
    const now = this.#dependencies.clock.now();
    let receivedBytes = 0;
    for (const connection of this.#connections) {
      receivedBytes += connection.takeReceivedBytes();
      connection.rate.tick(elapsedMs, connection.outstandingBytes > 0);
      if (connection.refusals.expire(now)) connection.futileAt = undefined;
      const fault = faultOf(connection, now);
      if (fault === undefined) connection.keepAlive(now);
      else connection.close(fault);
    }
    // While nobody owes anything little comes: that says nothing of how fast it would.
    const isIdle = this.#outstandingBytes === 0 && receivedBytes < this.#options.blockBytes;
    if (!isIdle) this.#ownRate.tick(receivedBytes, elapsedMs);
    this.#announcer.show(now);
    this.#subscribe(now);
    this.connect();
    this.#givesWay = this.#shouldGiveWay();
    this.pump(now);
  }

  /** A piece has just become ours. */
  announce(piece: number): void {
    this.#announcer.announce(piece);
  }

  /** One that was announced is not ours any more. */
  lost(piece: number): void {
    this.#announcer.lost(piece);
  }

  /**
   * What was announced cannot be taken back (BEP 3): every connection begins anew, with what we have
   * now. Rare: pieces were taken for what they are not.
   */
  renew(): void {
    for (const connection of this.#connections) connection.close('Renewed');
  }

  /** The feed has more to pass on. */
  feedGrew(): void {
    for (const connection of this.#connections) this.#sendFeed(connection);
  }

  /** It sent wrong bytes of the piece. */
  ban(number: number, piece: number): void {
    const peer = this.#peers.ban(number);
    if (peer !== undefined) this.#dependencies.onBanned(peer, piece);
  }

  /** What this peer has of the piece was right once, and it does not know better: it is not asked. */
  disbelieve(number: number, piece: number): void {
    const connection = this.#connections.get(number);
    if (connection === undefined) return;
    const pieces = this.#disbelieved.get(connection) ?? new Set();
    this.#disbelieved.set(connection, pieces.add(piece));
    connection.refusals.lacks(piece);
    if (connection.remoteHas.delete(piece)) this.#dependencies.picker.peerLacks(piece, number);
  }

  /** Asks every peer for as much as it should owe us; `lateAtMs`: also what is late elsewhere. */
  pump(lateAtMs?: number): void {
    if (this.#stopped || !this.#dependencies.wantsPieces()) return;
    for (const connection of this.#connections) this.#pump(connection, lateAtMs);
  }

  /** A piece that came in gives its memory back. */
  memoryFreed(): void {
    if (!this.#waitsForMemory) return;
    this.#waitsForMemory = false;
    this.pump();
  }

  opened(connection: PeerConnection): void {
    if (this.#stopped) {
      connection.close('Stopped');
      return;
    }
    this.#connections.add(connection);
    this.#peers.opened(connection);
    this.#announcer.opened(connection);
    if (connection.side === 'acceptor') {
      connection.send({ type: 'unchoke' });
      // Behind the bitfield: BEP 6.
      this.#announcer.soon();
      return;
    }
    connection.send({ type: 'interested' });
    this.#subscribe(this.#dependencies.clock.now());
  }

  received(connection: PeerConnection, message: Message): void {
    const { picker, acceptBatch } = this.#dependencies;
    switch (message.type) {
      case 'extensions':
        this.#sendFeed(connection);
        break;
      case 'bitfield':
      case 'haveAll':
        connection.futileAt = undefined;
        for (const piece of connection.remoteHas.pieces()) this.#peerHas(connection, piece);
        break;
      case 'have':
        if (this.#disbelieved.get(connection)?.has(message.piece)) {
          connection.bear('have');
          break;
        }
        if (picker.mayAsk(message.piece)) connection.futileAt = undefined;
        connection.refusals.told(message.piece);
        if (connection.remoteHas.add(message.piece)) this.#peerHas(connection, message.piece);
        else connection.bear('have');
        break;
      case 'request':
        this.#requested(connection, message);
        break;
      case 'cancel':
        connection.bear('cancel');
        cancelRequest(connection, message);
        break;
      case 'reject':
        this.#rejected(connection, message);
        break;
      case 'feed':
        if (!connection.subscribed) throw new WireError('OutOfOrder', 'nobody asked for the feed');
        if (acceptBatch(message.batch)) throw new WireError('BadFeed', 'a batch does not verify');
        break;
      default:
        break;
    }
  }

  blockBegins(connection: PeerConnection, block: BlockRequest): Uint8Array | undefined {
    if (!connection.isOutstanding(block)) {
      throw new WireError('OutOfOrder', `block ${block.piece}/${block.offset} was not asked for`);
    }
    return this.#dependencies.intake.blockBegins(connection, block);
  }

  blockEnds(connection: PeerConnection, block: BlockRequest, kept: boolean): void {
    this.#settle(connection, block);
    connection.rate.received(block.length);
    connection.refusals.gave();
    this.#dependencies.onPayload(connection.remoteRole, block.length);
    if (!kept) return;
    const other = this.#dependencies.intake.blockEnds(connection, block);
    if (other > 0) this.#connections.get(other)?.send({ type: 'cancel', ...block });
  }

  idle(connection: PeerConnection): void {
    if (this.#dependencies.wantsPieces()) this.#pump(connection);
  }

  drained(connection: PeerConnection): void {
    this.#sendFeed(connection);
    this.#dependencies.uploader.pump();
  }

  closed(connection: PeerConnection): void {
    const { uploader, intake, picker, downloadBucket, clock } = this.#dependencies;
    uploader.remove(connection);
    this.#peers.closed(connection);
    if (!this.#connections.remove(connection)) return;
    this.#outstandingBytes -= connection.outstandingBytes;
    downloadBucket.refund(connection.outstandingBytes, clock.now());
    this.#announcer.closed(connection);
    intake.senderLeft(connection);
    picker.peerLeft(connection.number, connection.remoteHas);
    this.pump();
  }

  broke(error: unknown): void {
    this.#dependencies.onBroken(error);
  }

  #peerHas(connection: PeerConnection, piece: number): void {
    const { picker, feed, clock } = this.#dependencies;
    picker.peerHas(piece);
    if (!feed.names(piece)) this.#gaps.seen(piece, clock.now());
    this.#announcer.peerHas(connection, piece);
  }

  /* The feed. */

  /** Asks for the feed of as many peers as are needed to have it. */
  #subscribe(nowMs: number): void {
    const { feed } = this.#dependencies;
    if (feed.knownPieces === this.pieceCount) return;
    const sources = this.#connections
      .allOpened()
      .map(({ number, remoteRole: role, subscribed, remoteHas: has }) => ({
        number,
        role,
        subscribed,
        has,
      }));
    const isNamed = (piece: number) => feed.names(piece);
    const asked = new Set([
      ...subscribeTo(sources),
      ...this.#gaps.whomToAsk(sources, isNamed, nowMs),
    ]);
    for (const number of asked) {
      const connection = this.#connections.get(number);
      if (connection === undefined) continue;
      connection.subscribed = true;
      connection.send({ type: 'extensions', extensions: FEED_WANTED });
    }
  }

  /** Only the acceptor sends the feed: who needs it has opened a connection. */
  #sendFeed(connection: PeerConnection): void {
    if (connection.side !== 'acceptor' || connection.remoteFeedId === undefined) return;
    const { feed } = this.#dependencies;
    if (connection.feedSent >= feed.length) return;
    for (const batch of feed.batches(connection.feedSent)) {
      if (connection.queuedBytes > FEED_QUEUE_BYTES) return;
      connection.send({ type: 'feed', batch });
      connection.feedSent += 1;
    }
  }

  /* What peers want. */

  #requested(connection: PeerConnection, block: BlockRequest): void {
    const { piece, offset, length } = block;
    const { uploader, served } = this.#dependencies;
    const inside = offset + length <= this.#options.layout.pieceSizeBytes(piece);
    if (!inside) throw new WireError('Malformed', `request behind the end of piece ${piece}`);
    if (!served.serves(piece)) {
      connection.bear('request');
      connection.send({ type: 'reject', piece, offset, length });
      return;
    }
    connection.requests.push({ piece, offset, length });
    uploader.add(connection, served);
  }

  /* What we want. */

  /**
   * A relay to agents that take from it. But what agents alone have, since the relay that had it is
   * gone, would come from the origin again.
   */
  #shouldGiveWay(): boolean {
    if (this.#options.role !== 'relay' || !this.#connections.hasTakers('agent')) return false;
    // Until the next tick: what begins to be wanted meanwhile comes in small parts.
    if (!this.#dependencies.wantsPieces()) return true;
    // Who is asked tells all that it has.
    const all = this.#connections.allOpened();
    const has = (role: PeerRole) =>
      all.filter(({ remoteRole }) => remoteRole === role).map(({ remoteHas }) => remoteHas);
    return !hasOrphans([this.#dependencies.offered, ...has('relay')], has('agent'));
  }

  #pump(connection: PeerConnection, lateAtMs?: number): void {
    const { blockBytes } = this.#options;
    if (connection.side !== 'opener' || !connection.unchoked) return;
    if (connection.maxRequestBytes < blockBytes) return;
    // One block of each: the first to be asked would have all, and keep it.
    const windowBytes = this.#givesWay ? blockBytes : connection.rate.windowBytes;
    // In batches of two, where the window has room for them: fewer writes.
    if (windowBytes - connection.outstandingBytes < Math.min(2 * blockBytes, windowBytes)) return;
    const { clock, picker, intake, downloadBucket } = this.#dependencies;
    const now = clock.now();
    if (connection.refusals.isPaused(now)) return;
    const most = MAX_HELD_BYTES - intake.storingBytes;
    const mostOwed = this.#givesWay ? Math.min(most, GIVING_WAY_BLOCKS * blockBytes) : most;
    let budget = mostOwed - this.#outstandingBytes;
    let owed = connection.outstandingBytes;
    const blocks: BlockRequest[] = [];
    while (owed + blockBytes <= windowBytes && budget >= blockBytes) {
      if (downloadBucket.available(now) <= 0) break;
      const block = this.#choose(connection, lateAtMs);
      if (block === undefined) break;
      if (connection.isOutstanding(block)) break;
      downloadBucket.spend(block.length, now);
      owed += block.length;
      budget -= block.length;
      intake.reserve(block.piece);
      const all = this.#outstandingBytes + owed - connection.outstandingBytes;
      const deadlines = connection.rate.deadlines(owed, this.#ownRate.msFor(all));
      picker.asked(connection.number, block, now, deadlines);
      blocks.push(block);
    }
    if (blocks.length === 0) return;
    this.#outstandingBytes += owed - connection.outstandingBytes;
    connection.request(blocks);
  }

  #settle(connection: PeerConnection, block: BlockRequest): boolean {
    const isSettled = connection.settle(block);
    if (isSettled) this.#outstandingBytes -= block.length;
    return isSettled;
  }

  #rejected(connection: PeerConnection, block: BlockRequest): void {
    const { picker, downloadBucket, clock } = this.#dependencies;
    if (!this.#settle(connection, block)) {
      connection.bear('reject');
      return;
    }
    const now = clock.now();
    downloadBucket.refund(block.length, now);
    picker.rejected(connection.number, block);
    // Of what is not needed any more it may be the answer to a cancel.
    if (!picker.wants(block.piece, block.offset)) return;
    connection.refusals.refused(block.piece, connection.remoteHas, now);
    connection.bear('reject');
  }

  #choose(connection: PeerConnection, lateAtMs: number | undefined): BlockRequest | undefined {
    const { picker } = this.#dependencies;
    const { number, askable } = connection;
    // Most looks at a peer find nothing: they cost nothing until something has changed.
    const isFutile = connection.futileAt === picker.version;
    const mayBegin = this.#mayBegin();
    const block = isFutile ? undefined : picker.next(number, askable, mayBegin);
    if (block !== undefined) return block;
    if (mayBegin) connection.futileAt = picker.version;
    else this.#waitsForMemory = true;
    return lateAtMs === undefined ? undefined : picker.latest(number, askable, lateAtMs);
  }

  /** Whether there is memory for one more piece. */
  #mayBegin(): boolean {
    const { intake, memory } = this.#dependencies;
    if (memory.roomBytes >= this.#options.layout.pieceLengthBytes) return true;
    if (intake.comingIn < MIN_COMING_IN) return true;
    // What other transfers hold, or pieces that nobody can finish, must not stop this one for good.
    return intake.storingBytes === 0 && this.#outstandingBytes === 0;
  }
}
