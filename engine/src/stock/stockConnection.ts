/*
 * stock/ speaks with ordinary BitTorrent clients about finished and ordinary torrents. Nothing of
 * our own swarms is here: no membership, no feed, no roles.
 */
import { Bitfield } from '../pieces/bitfield.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { PeerSocket } from '../ports/transport.ts';
import type { CloseReason } from '../session/closeReason.ts';
import { blockKey, OutstandingRequests } from '../session/outstandingRequests.ts';
import type { Dialed } from '../session/peerList.ts';
import { SendProgress } from '../session/sendProgress.ts';
import type { Receiver } from '../session/uploader.ts';
import { KEEP_ALIVE_MS, UselessMessages } from '../swarm/conduct.ts';
import { PeerRate } from '../swarm/peerRate.ts';
import {
  type BlockRequest,
  encode,
  encodePieceHeader,
  KEEP_ALIVE,
  type Message,
  MessageReader,
  STOCK_REQUEST_BYTES,
  WireError,
} from '../wire/codec.ts';
import { decodeHashRequest, encodeHashAnswer, type HashRange } from '../wire/hashMessages.ts';
import {
  decodeStockHandshake,
  encodeStockExtensions,
  encodeStockHandshake,
  STOCK_HANDSHAKE_BYTES,
  STOCK_QUEUED_REQUESTS,
  type StockHandshake,
} from '../wire/stockHandshake.ts';

/** Of its rate it may owe so much, on top of the least: it may be the only source, and far away. */
const WINDOW_SECONDS = 0.25;

/** What a connection needs of its swarm; called in the order in which the peer spoke. */
export interface StockOwner {
  readonly pieceCount: number;
  /** Under which peers may ask for it, version 2's last; the first is said to those that we call. */
  readonly wireHashes: readonly Buffer[];
  readonly hasHashes: boolean;
  /** Hands are shaken. Throwing closes it. */
  opened(connection: StockConnection): void;
  received(connection: StockConnection, message: Message): void;
  /** It has these, of which nothing was known. */
  has(connection: StockConnection, pieces: readonly number[]): void;
  /** Undefined: they are not to be had. */
  findHashes(range: HashRange): Uint8Array | undefined;
  blockBegins(connection: StockConnection, block: BlockRequest): Uint8Array | undefined;
  blockEnds(connection: StockConnection, block: BlockRequest, kept: boolean): void;
  /** Everything that came in one read was handled. */
  idle(connection: StockConnection): void;
  drained(connection: StockConnection): void;
  closed(connection: StockConnection): void;
  /** It cannot go on. */
  broke(error: unknown): void;
}

export interface StockConnectionDependencies {
  readonly clock: Clock;
  readonly peerId: Uint8Array;
  /** Which torrent an inbound connection is for; hex. */
  find(infoHash: string): StockOwner | undefined;
  ended(reason: CloseReason): void;
}

const HANDSHAKE_TIMEOUT_MS = 5000;
/** Of answers that are so much larger than what asks for them. Blocks ahead are an eighth of it. */
const MAX_HASHES_QUEUED_BYTES = 1_048_576;
/** Nobody owes more blocks than fit a window; twice that may have been given up. */
const MAX_FORGIVEN = 512;

let lastNumber = 0;

/** One connection with a stock client: both sides ask and both serve. */
export class StockConnection implements Dialed, Receiver {
  readonly number: number;
  /** Who called. */
  readonly side: 'opener' | 'acceptor';
  readonly rate = new PeerRate(WINDOW_SECONDS);
  readonly requests: BlockRequest[] = [];
  readingBytes = 0;
  remoteHas: Bitfield;
  /** Whether it wants of us, and whether it serves us. */
  remoteInterested = false;
  unchoked = false;
  /** Whether we want of it, and since when we serve it. */
  interested = false;
  servedSinceMs: number | undefined;
  readonly #dependencies: StockConnectionDependencies;
  readonly #outstanding: OutstandingRequests;
  readonly #sent: SendProgress;
  /** Given up, but maybe on the way already: their blocks are no offence. */
  readonly #forgiven = new Set<string>();
  readonly #useless = new UselessMessages();
  readonly #timer: Timer;
  #owner: StockOwner | undefined;
  #socket: PeerSocket | undefined;
  #remote: StockHandshake | undefined;
  #phase: 'handshake' | 'open' | 'closed' = 'handshake';
  #early: Buffer = Buffer.alloc(0);
  #reader: MessageReader | undefined;
  #fieldSeen = false;
  /** The block that comes in now answers a request that stands. */
  #isAnswer = false;
  #aliveAtMs: number;
  #closedBy: CloseReason = 'Disconnected';

  /** `owner` is known on connections that we open. */
  constructor(owner: StockOwner | undefined, dependencies: StockConnectionDependencies) {
    lastNumber += 1;
    this.number = lastNumber;
    this.side = owner === undefined ? 'acceptor' : 'opener';
    this.#owner = owner;
    this.#dependencies = dependencies;
    this.remoteHas = new Bitfield(owner?.pieceCount ?? 0);
    this.#aliveAtMs = dependencies.clock.now();
    this.#outstanding = new OutstandingRequests(this.#aliveAtMs);
    this.#sent = new SendProgress(this.#aliveAtMs);
    this.#timer = dependencies.clock.setTimer(HANDSHAKE_TIMEOUT_MS, () => {
      this.close('HandshakeTimedOut');
    });
  }

  get remoteHost(): string {
    return this.#socket?.remoteHost ?? '';
  }

  get queuedBytes(): number {
    return this.#socket?.queuedBytes ?? 0;
  }

  get lastTakenAtMs(): number {
    return this.#sent.lastTakenAtMs(this.queuedBytes, this.#dependencies.clock.now());
  }

  get takenLatelyBytes(): number {
    return this.#sent.takenLatelyBytes(this.queuedBytes, this.#dependencies.clock.now());
  }

  get outstandingBytes(): number {
    return this.#outstanding.bytes;
  }

  get lastReceivedAtMs(): number {
    return this.#outstanding.lastReceivedAtMs;
  }

  get lastBlockAtMs(): number {
    return this.#outstanding.lastBlockAtMs;
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }

  /** BEP 6: it takes rejects and answers every request. */
  get fast(): boolean {
    return this.#remote?.fast === true;
  }

  attach(socket: PeerSocket): void {
    this.#socket = socket;
    const { wireHashes: [infoHash] = [], hasHashes = false } = this.#owner ?? {};
    if (this.#phase === 'closed') socket.close(this.#closedBy);
    else if (infoHash !== undefined) this.#shake(infoHash, hasHashes);
  }

  close(reason: CloseReason, detail?: string): void {
    if (this.#phase === 'closed') return;
    if (this.#closedBy === 'Disconnected') this.#closedBy = reason;
    const text = detail === undefined ? reason : `${reason}: ${detail}`;
    if (this.#socket === undefined) this.onClose(text);
    else this.#socket.close(text);
  }

  connectFailed(message: string): void {
    this.close('ConnectFailed', message);
  }

  /** A message that may have told nothing; throws when there are too many of them. */
  bear(type: string): void {
    if (!this.#useless.add(this.#dependencies.clock.now())) return;
    throw new WireError('Flooding', `too many messages that tell nothing, lately ${type}`);
  }

  keepAlive(nowMs: number): void {
    if (nowMs - this.#aliveAtMs < KEEP_ALIVE_MS) return;
    this.#aliveAtMs = nowMs;
    this.#write([KEEP_ALIVE]);
  }

  /** Who does not know rejects is not sent any: to it a request just stays without an answer. */
  send(...messages: readonly Message[]): void {
    const known = this.fast ? messages : messages.filter(({ type }) => type !== 'reject');
    this.#write(known.map((message) => encode(message)));
  }

  sendBlock(block: BlockRequest, bytes: Uint8Array, onSent?: () => void): void {
    if (this.#socket === undefined) onSent?.();
    else this.#write([encodePieceHeader(block), bytes], onSent);
  }

  request(blocks: readonly BlockRequest[]): void {
    this.#outstanding.add(blocks, this.#dependencies.clock.now());
    this.send(...blocks.map((block) => ({ type: 'request' as const, ...block })));
  }

  isOutstanding(block: BlockRequest): boolean {
    return this.#outstanding.has(block);
  }

  settle(block: BlockRequest): boolean {
    return this.#outstanding.settle(block);
  }

  /** Not to be answered any more, though some may be on the way. */
  giveUpOutstanding(): BlockRequest[] {
    const blocks = this.#outstanding.list();
    for (const block of blocks) {
      this.settle(block);
      this.#forgiven.add(blockKey(block));
    }
    for (const key of this.#forgiven) {
      if (this.#forgiven.size <= MAX_FORGIVEN) break;
      this.#forgiven.delete(key);
    }
    return blocks;
  }

  dropTarget(): void {
    this.#reader?.dropTarget();
  }

  onData(chunk: Uint8Array): void {
    if (this.#phase === 'closed') return;
    this.#outstanding.lastReceivedAtMs = this.#dependencies.clock.now();
    try {
      if (this.#reader !== undefined) this.#reader.push(chunk);
      else this.#shakeHands(chunk);
      if (this.isOpen) this.#owner?.idle(this);
    } catch (error) {
      if (error instanceof WireError) {
        this.close(error.code, error.message);
        return;
      }
      // A mistake of ours: it ends this torrent, not the whole process.
      this.close('InternalError');
      this.#owner?.broke(error);
    }
  }

  onDrain(): void {
    if (this.isOpen) this.#owner?.drained(this);
  }

  onClose(_text: string): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.#timer.cancel();
    this.#owner?.closed(this);
    this.#dependencies.ended(this.#closedBy);
  }

  #write(buffers: readonly Uint8Array[], onSent?: () => void): void {
    if (buffers.length === 0 || this.#socket === undefined) return;
    const bytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#sent.writes(bytes, this.queuedBytes, this.#dependencies.clock.now());
    this.#socket.write(buffers, onSent);
  }

  #shake(infoHash: Uint8Array, version2: boolean): void {
    this.#write([encodeStockHandshake(infoHash, this.#dependencies.peerId, version2)]);
  }

  /**
   * Who knows version 2 is answered under its hash, whichever of a hybrid's it asked for (BEP 52):
   * libtorrent takes the bit for that answer.
   */
  #answer({ wireHashes, hasHashes }: StockOwner, remote: StockHandshake): void {
    const version2 = hasHashes && remote.version2;
    this.#shake((version2 ? wireHashes.at(-1) : undefined) ?? remote.infoHash, version2);
  }

  #shakeHands(chunk: Uint8Array): void {
    this.#early = Buffer.concat([this.#early, chunk]);
    if (this.#early.length < STOCK_HANDSHAKE_BYTES) return;
    const rest = this.#early.subarray(STOCK_HANDSHAKE_BYTES);
    this.#takeHandshake(this.#early.subarray(0, STOCK_HANDSHAKE_BYTES));
    this.#early = Buffer.alloc(0);
    if (rest.length > 0) this.#reader?.push(rest);
  }

  #takeHandshake(bytes: Buffer): void {
    const { find, peerId } = this.#dependencies;
    const remote = decodeStockHandshake(bytes);
    if (remote === undefined) throw new WireError('Malformed', 'no plain handshake of BitTorrent');
    if (Buffer.compare(remote.peerId, peerId) === 0) {
      throw new WireError('OutOfOrder', 'connected to itself');
    }
    this.#remote = remote;
    const isInbound = this.#owner === undefined;
    const owner = this.#owner ?? find(Buffer.from(remote.infoHash).toString('hex'));
    // A hybrid may be answered under its other hash.
    if (owner?.wireHashes.some((hash) => hash.equals(remote.infoHash)) !== true) {
      throw new WireError('OutOfOrder', 'unknown torrent');
    }
    this.#owner = owner;
    if (isInbound) {
      this.remoteHas = new Bitfield(owner.pieceCount);
      this.#answer(owner, remote);
    }
    this.#timer.cancel();
    this.#phase = 'open';
    this.#reader = new MessageReader(owner.pieceCount, {
      onBlockBegin: (piece, offset, length) => this.#blockBegins(owner, { piece, offset, length }),
      onBlockEnd: (piece, offset, length, kept) =>
        this.#blockEnds(owner, { piece, offset, length }, kept),
      onMessage: (message) => this.#take(owner, message),
      onKeepAlive: () => this.bear('keep-alive'),
      onUnknown: (message) => this.#takeUnknown(owner, message),
    });
    owner.opened(this);
    if (remote.extended) this.#write([encodeStockExtensions()]);
  }

  #blockBegins(owner: StockOwner, block: BlockRequest): Uint8Array | undefined {
    this.#isAnswer = this.isOutstanding(block);
    if (this.#isAnswer) return owner.blockBegins(this, block);
    if (this.#forgiven.has(blockKey(block))) return undefined;
    throw new WireError('OutOfOrder', `block ${block.piece}/${block.offset} was not asked for`);
  }

  #blockEnds(owner: StockOwner, block: BlockRequest, kept: boolean): void {
    if (!this.#isAnswer) this.#forgiven.delete(blockKey(block));
    else if (this.settle(block)) owner.blockEnds(this, block, kept);
  }

  /** Keeps what every connection has to know of its peer, and then tells the owner. */
  #take(owner: StockOwner, message: Message): void {
    switch (message.type) {
      case 'extensions':
        this.bear(message.type);
        return;
      case 'feed':
        throw new WireError('OutOfOrder', 'an extension that was not offered');
      case 'interested':
      case 'notInterested':
        this.remoteInterested = message.type === 'interested';
        this.bear(message.type);
        break;
      case 'choke':
      case 'unchoke':
        this.unchoked = message.type === 'unchoke';
        this.bear(message.type);
        break;
      case 'bitfield':
      case 'haveAll':
      case 'haveNone':
        this.#takeField(owner, message);
        return;
      case 'have':
        this.#takeHaves(owner, [message.piece]);
        return;
      case 'request':
        if (message.length > STOCK_REQUEST_BYTES) {
          throw new WireError('Oversized', `request of ${message.length} bytes`);
        }
        if (this.requests.length >= STOCK_QUEUED_REQUESTS) {
          throw new WireError('Oversized', 'too many requests');
        }
        break;
      case 'reject':
        this.#expectFast(message.type);
        break;
      default:
        break;
    }
    owner.received(this, message);
  }

  /** Not only first: aria2 sends a bitfield instead of many haves. */
  #takeField(owner: StockOwner, message: Message): void {
    if (message.type !== 'bitfield') this.#expectFast(message.type);
    if (this.#fieldSeen) this.bear(message.type);
    this.#fieldSeen = true;
    if (message.type === 'haveNone') return;
    const all = Array.from({ length: owner.pieceCount }, (_, piece) => piece);
    if (message.type !== 'bitfield') {
      this.#takeHaves(owner, all);
      return;
    }
    const field = Bitfield.parse(message.bytes, owner.pieceCount);
    if (field === undefined) throw new WireError('Malformed', 'bitfield of another torrent');
    this.#takeHaves(owner, [...field.pieces()]);
  }

  #takeHaves(owner: StockOwner, pieces: readonly number[]): void {
    const news = pieces.filter((piece) => this.remoteHas.add(piece));
    if (news.length > 0) owner.has(this, news);
    else this.bear('have');
  }

  #takeUnknown(owner: StockOwner, message: Buffer): void {
    const range = decodeHashRequest(message);
    this.bear(range === undefined ? `id ${message[0]}` : 'hash request');
    if (range === undefined) return;
    const mayAnswer = this.queuedBytes < MAX_HASHES_QUEUED_BYTES;
    this.#write([encodeHashAnswer(range, mayAnswer ? owner.findHashes(range) : undefined)]);
  }

  #expectFast(type: string): void {
    if (!this.fast) throw new WireError('OutOfOrder', `${type} without the fast extension`);
  }
}
