import { MAX_BATCHES_PER_PIECE } from '../feed/feedLog.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';
import type { PeerSocket, SocketHandlers } from '../ports/transport.ts';
import { KEEP_ALIVE_MS, UselessMessages } from '../swarm/conduct.ts';
import { PeerRate } from '../swarm/peerRate.ts';
import { Refusals } from '../swarm/refusals.ts';
import {
  type BlockRequest,
  encode,
  encodeHaves,
  encodePieceHeader,
  KEEP_ALIVE,
  type Message,
  MessageReader,
  OWN_EXTENSIONS,
  WireError,
} from '../wire/codec.ts';
import {
  decodeHello,
  encodeHello,
  HELLO_BYTES,
  type Hello,
  NONCE_BYTES,
  type PeerRole,
  PROOF_BYTES,
} from '../wire/hello.ts';
import type { CloseReason } from './closeReason.ts';
import type { Membership, Side } from './membership.ts';
import { OutstandingRequests } from './outstandingRequests.ts';
import { SendProgress } from './sendProgress.ts';

/** What a connection needs of its transfer; called in the order in which the peer spoke. */
export interface ConnectionOwner {
  readonly swarmId: Buffer;
  readonly membership: Membership;
  readonly pieceCount: number;
  /** Membership is proven both ways. Throwing closes it. */
  opened(connection: PeerConnection): void;
  received(connection: PeerConnection, message: Message): void;
  blockBegins(connection: PeerConnection, block: BlockRequest): Uint8Array | undefined;
  blockEnds(connection: PeerConnection, block: BlockRequest, kept: boolean): void;
  /** Everything that came in one read was handled. */
  idle(connection: PeerConnection): void;
  drained(connection: PeerConnection): void;
  closed(connection: PeerConnection): void;
  /** It cannot go on. */
  broke(error: unknown): void;
}

export interface ConnectionDependencies {
  readonly clock: Clock;
  readonly random: Random;
  /** Of the whole process. */
  readonly peerId: Uint8Array;
  readonly role: PeerRole;
  /** Which transfer an inbound connection is for. */
  find(swarmId: string): ConnectionOwner | undefined;
  /** It came in and named a swarm that was not found: serve() tries again. */
  waits(connection: PeerConnection): void;
  /** For the counts of the whole process. */
  ended(reason: CloseReason, connection: PeerConnection): void;
}

const HANDSHAKE_TIMEOUT_MS = 5000;
/** A peer that asks for more at once than its window lets it is not one of ours. */
export const MAX_QUEUED_REQUESTS = 512;

let lastNumber = 0;

/** One connection: handshake, membership, then messages. The opener alone requests over it. */
export class PeerConnection implements SocketHandlers {
  /** Names it in the swarm's pure state; greater than 0. */
  readonly number: number;
  readonly side: Side;
  readonly rate = new PeerRate();
  readonly refusals = new Refusals();
  readonly requests: BlockRequest[] = [];
  /** Bytes that are read from disk for it now. */
  readingBytes = 0;
  /** How many of the feed's batches it was sent. */
  feedSent = 0;
  /** How many of the pieces that are announced to all it was told of. */
  announced = 0;
  /** The picker's version at which this peer had nothing to be asked for. */
  futileAt: number | undefined;
  /** It was asked for the feed. */
  subscribed = false;
  remoteRole: PeerRole = 'agent';
  /** Names the process at the other end. */
  remotePeerId = '';
  remoteHas: Bitfield;
  remoteFeedId: number | undefined;
  maxRequestBytes = 0;
  unchoked = false;
  readonly #dependencies: ConnectionDependencies;
  readonly #outstanding: OutstandingRequests;
  readonly #sent: SendProgress;
  readonly #timer: Timer;
  #owner: ConnectionOwner | undefined;
  #socket: PeerSocket | undefined;
  #own: Hello | undefined;
  #remote: Hello | undefined;
  #phase: 'hello' | 'proof' | 'open' | 'closed' = 'hello';
  #early: Buffer = Buffer.alloc(0);
  #reader: MessageReader | undefined;
  #haveSeen = false;
  readonly #useless = new UselessMessages();
  /** When it was last told that we live. */
  #aliveAtMs: number;
  #feedReceived = 0;
  #receivedBytes = 0;
  #closedBy: CloseReason = 'Disconnected';

  /** `owner` is known on connections that we open. */
  constructor(owner: ConnectionOwner | undefined, dependencies: ConnectionDependencies) {
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

  /** Of the block that it is sending. */
  get arrivingBytes(): number {
    return this.#reader?.arrivingBytes ?? 0;
  }

  get lastReceivedAtMs(): number {
    return this.#outstanding.lastReceivedAtMs;
  }

  get lastBlockAtMs(): number {
    return this.#outstanding.lastBlockAtMs;
  }

  /** What it may be asked for. */
  get askable(): Bitfield {
    return this.refusals.askable(this.remoteHas);
  }

  get isOpen(): boolean {
    return this.#phase === 'open';
  }

  attach(socket: PeerSocket): void {
    this.#socket = socket;
    if (this.#phase === 'closed') socket.close(this.#closedBy);
    else if (this.#owner !== undefined) this.#sayHello(this.#owner);
  }

  close(reason: CloseReason, detail?: string): void {
    if (this.#phase === 'closed') return;
    if (this.#closedBy === 'Disconnected') this.#closedBy = reason;
    const text = detail === undefined ? reason : `${reason}: ${detail}`;
    if (this.#socket === undefined) this.onClose(text);
    else this.#socket.close(text);
  }

  /** There is no socket. */
  connectFailed(message: string): void {
    this.close('ConnectFailed', message);
  }

  /** A message that may have told nothing; throws when there are too many of them. */
  bear(type: string): void {
    if (!this.#useless.add(this.#dependencies.clock.now())) return;
    throw new WireError('Flooding', `too many messages that tell nothing, lately ${type}`);
  }

  /** The acceptor's idle limit is three of these. */
  keepAlive(nowMs: number): void {
    if (this.side !== 'opener' || nowMs - this.#aliveAtMs < KEEP_ALIVE_MS) return;
    this.#aliveAtMs = nowMs;
    this.#write([KEEP_ALIVE]);
  }

  send(...messages: readonly Message[]): void {
    this.#write(messages.map((message) => encode(message, this.remoteFeedId)));
  }

  sendHaves(pieces: readonly number[]): void {
    if (pieces.length > 0) this.#write([encodeHaves(pieces)]);
  }

  /** `onSent`: the bytes are not needed any more. */
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

  /** What has come since this was asked for last, with all that is no payload. */
  takeReceivedBytes(): number {
    const bytes = this.#receivedBytes;
    this.#receivedBytes = 0;
    return bytes;
  }

  /** The rest of the block that it is sending goes nowhere. */
  dropTarget(): void {
    this.#reader?.dropTarget();
  }

  onData(chunk: Uint8Array): void {
    if (this.#phase === 'closed') return;
    this.#outstanding.lastReceivedAtMs = this.#dependencies.clock.now();
    this.#receivedBytes += chunk.byteLength;
    try {
      if (this.#reader !== undefined) this.#reader.push(chunk);
      else this.#shakeHands(chunk);
      if (this.isOpen) this.#owner?.idle(this);
    } catch (error) {
      if (error instanceof WireError) {
        this.close(error.code, error.message);
        return;
      }
      // A mistake of ours: it ends this transfer, not the whole process.
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
    this.#dependencies.ended(this.#closedBy, this);
  }

  #write(buffers: readonly Uint8Array[], onSent?: () => void): void {
    if (buffers.length === 0 || this.#socket === undefined) return;
    const bytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#sent.writes(bytes, this.queuedBytes, this.#dependencies.clock.now());
    this.#socket.write(buffers, onSent);
  }

  #sayHello(owner: ConnectionOwner): void {
    const { peerId, role, random } = this.#dependencies;
    const nonce = random.bytes(NONCE_BYTES);
    this.#own = { swarmId: owner.swarmId, peerId, role, nonce };
    this.#write([encodeHello(this.#own)]);
  }

  #shakeHands(chunk: Uint8Array): void {
    this.#early = Buffer.concat([this.#early, chunk]);
    if (this.#phase === 'hello' && this.#remote !== undefined) {
      throw new WireError('OutOfOrder', 'more than a hello before it was answered');
    }
    if (this.#phase === 'hello' && this.#early.length >= HELLO_BYTES) {
      this.#takeHello(this.#early.subarray(0, HELLO_BYTES));
      this.#early = this.#early.subarray(HELLO_BYTES);
    }
    if (this.#phase === 'proof' && this.#early.length >= PROOF_BYTES) {
      this.#takeProof(this.#early.subarray(0, PROOF_BYTES));
      const rest = this.#early.subarray(PROOF_BYTES);
      this.#early = Buffer.alloc(0);
      if (rest.length > 0) this.#reader?.push(rest);
    }
  }

  #takeHello(bytes: Buffer): void {
    const remote = decodeHello(bytes);
    if (Buffer.compare(remote.peerId, this.#dependencies.peerId) === 0) {
      throw new WireError('OutOfOrder', 'connected to itself');
    }
    this.#remote = remote;
    this.remoteRole = remote.role;
    this.remotePeerId = Buffer.from(remote.peerId).toString('hex');
    if (this.#owner === undefined) {
      // Its proof answers ours: until we serve the swarm it says nothing, and the time runs.
      if (!this.serve()) this.#dependencies.waits(this);
      return;
    }
    if (!this.#owner.swarmId.equals(remote.swarmId)) {
      throw new WireError('OutOfOrder', 'another swarm');
    }
    this.#phase = 'proof';
  }

  /** Of the acceptor: goes on when the swarm that the peer named is served here. */
  serve(): boolean {
    if (this.#phase !== 'hello' || this.#remote === undefined) return false;
    this.#owner = this.#dependencies.find(Buffer.from(this.#remote.swarmId).toString('hex'));
    if (this.#owner === undefined) return false;
    this.remoteHas = new Bitfield(this.#owner.pieceCount);
    this.#phase = 'proof';
    this.#sayHello(this.#owner);
    this.#write([this.#proofOf('acceptor')]);
    return true;
  }

  #takeProof(proof: Buffer): void {
    const owner = this.#owner as ConnectionOwner;
    const [opener, acceptor] = this.#hellos();
    const theirs: Side = this.side === 'opener' ? 'acceptor' : 'opener';
    if (!owner.membership.proves(proof, opener, acceptor, theirs)) {
      throw new WireError('OutOfOrder', 'membership is not proven');
    }
    if (this.side === 'opener') this.#write([this.#proofOf('opener')]);
    this.#timer.cancel();
    this.#phase = 'open';
    this.#own = undefined;
    this.#remote = undefined;
    this.#reader = new MessageReader(owner.pieceCount, {
      onBlockBegin: (piece, offset, length) => owner.blockBegins(this, { piece, offset, length }),
      onBlockEnd: (piece, offset, length, kept) =>
        owner.blockEnds(this, { piece, offset, length }, kept),
      onMessage: (message) => this.#take(owner, message),
      onKeepAlive: () => this.bear('keep-alive'),
      onUnknown: (message) => this.bear(`id ${message[0]}`),
    });
    this.send({ type: 'extensions', extensions: OWN_EXTENSIONS });
    owner.opened(this);
  }

  #proofOf(side: Side): Buffer {
    const [opener, acceptor] = this.#hellos();
    return (this.#owner as ConnectionOwner).membership.prove(opener, acceptor, side);
  }

  #hellos(): [Hello, Hello] {
    const [own, remote] = [this.#own as Hello, this.#remote as Hello];
    return this.side === 'opener' ? [own, remote] : [remote, own];
  }

  /** Keeps what every connection has to know of its peer, and then tells the owner. */
  #take(owner: ConnectionOwner, message: Message): void {
    switch (message.type) {
      case 'extensions':
        this.remoteFeedId = message.extensions.feedId ?? this.remoteFeedId;
        this.maxRequestBytes = message.extensions.maxRequestBytes;
        this.bear(message.type);
        break;
      case 'interested':
      case 'notInterested':
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
        this.#takeField(message, owner.pieceCount);
        break;
      case 'request':
        if (this.side === 'opener') throw new WireError('OutOfOrder', 'only the opener requests');
        if (this.requests.length >= MAX_QUEUED_REQUESTS) {
          throw new WireError('Oversized', 'too many requests');
        }
        break;
      case 'feed':
        this.#feedReceived += 1;
        if (this.#feedReceived > MAX_BATCHES_PER_PIECE * owner.pieceCount) {
          throw new WireError('Flooding', 'more of the feed than there can be');
        }
        break;
      case 'have':
        // BEP 6: one of the three above comes first.
        if (!this.#haveSeen) throw new WireError('OutOfOrder', 'have before bitfield');
        break;
      default:
        break;
    }
    owner.received(this, message);
  }

  #takeField(message: Message, pieceCount: number): void {
    if (this.#haveSeen) throw new WireError('OutOfOrder', 'a second bitfield');
    this.#haveSeen = true;
    if (message.type === 'bitfield') {
      const field = Bitfield.parse(message.bytes, pieceCount);
      if (field === undefined) throw new WireError('Malformed', 'bitfield of another layout');
      this.remoteHas = field;
    } else if (message.type === 'haveAll') {
      for (let piece = 0; piece < pieceCount; piece += 1) this.remoteHas.add(piece);
    }
  }
}
