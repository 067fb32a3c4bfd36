/*
 * session/ runs transfers: it takes events from sockets, disk and timers, asks the pure parts what
 * follows, and does it.
 */
import { FeedLog } from '../feed/feedLog.ts';
import type { FeedSigner, PieceHash } from '../feed/feedSigner.ts';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import type { Layout } from '../pieces/layout.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import type { Random } from '../ports/random.ts';
import type { Transport } from '../ports/transport.ts';
import { PiecePicker } from '../swarm/piecePicker.ts';
import { Spread } from '../swarm/spread.ts';
import { type BlockRequest, LARGE_REQUEST_BYTES, type Message, WireError } from '../wire/codec.ts';
import type { PeerRole } from '../wire/hello.ts';
import { HttpAssembly } from './httpAssembly.ts';
import type { ConnectionOwner, PeerConnection } from './peerConnection.ts';
import { type ListedPeer, PeerList } from './peerList.ts';
import type { PieceAssembly } from './pullPlan.ts';
import { RateMeter } from './rateMeter.ts';
import { Suspects } from './suspects.ts';
import type { Served, Uploader } from './uploader.ts';

export interface TransferOptions {
  /** Hex. */
  readonly swarmId: string;
  readonly role: PeerRole;
  readonly layout: Layout;
  readonly store: PieceStore;
  /** Raw Ed25519 public key of the distribution. */
  readonly feedKey: Uint8Array;
  readonly swarmSecret: Uint8Array;
}

export interface TransferDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly uploader: Uploader;
  readonly connect: (owner: ConnectionOwner) => PeerConnection;
}

/** Bytes per second; undefined: none. */
export interface Rates {
  readonly minRate?: number | undefined;
  readonly maxRate?: number | undefined;
  readonly maxUploadRate?: number | undefined;
}

export interface TransferProgress {
  readonly verifiedPieces: number;
  readonly verifiedBytes: number;
  readonly received: {
    readonly fromPeers: number;
    readonly fromRelays: number;
    readonly fromRelayHttp: number;
    readonly fromOrigin: number;
  };
  readonly uploadedBytes: number;
  /** Payload over the last second. */
  readonly rateBytesPerSecond: number;
  /** On the engine's clock. */
  readonly firstByteAt: number | undefined;
  readonly state: 'pending' | 'transferring' | 'verifying' | 'ready' | 'failed';
}

const BLOCK_BYTES = LARGE_REQUEST_BYTES;
/** Outstanding, and waiting for hash and disk; above it nothing is asked for. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;
const MAX_SPARE_BYTES = 32 * 1024 * 1024;
const TICK_MS = 100;
/** The first hash is signed at once, those of the next moment together. */
const SIGN_INTERVAL_MS = 50;
/** A peer that owes us bytes and sends nothing for so long is left. */
const SILENT_MS = 10_000;
const FEED_QUEUE_BYTES = 1_048_576;
/** A process that had bytes of the origin so lately is pulling. */
const PULLING_MS = 1000;
/** How long a rate cap may save up what it did not use. */
const BURST_SECONDS = 0.25;

/** One distribution's epoch in this process: downloads, verifies, stores, serves. */
export class Transfer implements ConnectionOwner, Served {
  /** store.complete() is done. Never rejects; see `failed`. */
  readonly completed: Promise<void>;
  /** Rejects, with a coded error, when it cannot go on; never resolves. */
  readonly failed: Promise<never>;
  readonly feed: FeedLog;
  readonly swarmId: Buffer;
  readonly swarmSecret: Uint8Array;
  readonly pieceCount: number;
  /** Of maxUploadRate. */
  readonly bucket: TokenBucket;
  readonly #options: TransferOptions;
  readonly #dependencies: TransferDependencies;
  readonly #layout: Layout;
  readonly #picker: PiecePicker;
  readonly #held: Bitfield;
  readonly #spread = new Spread();
  readonly #suspects = new Suspects();
  readonly #meter = new RateMeter();
  readonly #peers: PeerList;
  readonly #connections = new Map<number, PeerConnection>();
  #pulledAtMs = Number.NEGATIVE_INFINITY;
  /** Pieces in progress. */
  readonly #buffers = new Map<number, Uint8Array>();
  /** Of verified pieces, to be filled again: fresh memory costs more than the bytes' copy. */
  readonly #spare: Uint8Array[] = [];
  /** Who is sending a block into its buffer now, by piece and offset. */
  readonly #streaming = new Map<string, PeerConnection>();
  readonly #assemblies = new Map<number, HttpAssembly>();
  readonly #unnamedWaiters = new Set<() => void>();
  readonly #downloadBucket: TokenBucket;
  readonly #stopped = new AbortController();
  #unsigned: PieceHash[] = [];
  #signedAtMs = Number.NEGATIVE_INFINITY;
  #signTimer: Timer | undefined;
  #signer: FeedSigner | undefined;
  #received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  #uploadedBytes = 0;
  #verifiedBytes = 0;
  #storingBytes = 0;
  #firstByteAt: number | undefined;
  #state: TransferProgress['state'] = 'pending';
  #timer: Timer | undefined;
  #tickedAtMs = 0;
  #complete: () => void = () => {};
  #fail: (error: unknown) => void = () => {};

  constructor(options: TransferOptions, dependencies: TransferDependencies) {
    const { clock, random, transport, connect } = dependencies;
    const { layout, feedKey } = options;
    this.#options = options;
    this.#dependencies = dependencies;
    this.#layout = layout;
    this.pieceCount = layout.pieceCount;
    this.swarmId = Buffer.from(options.swarmId, 'hex');
    this.swarmSecret = options.swarmSecret;
    this.feed = new FeedLog({ swarmId: this.swarmId, feedKey, pieceCount: layout.pieceCount });
    this.#held = new Bitfield(layout.pieceCount);
    this.#picker = new PiecePicker({
      pieceCount: layout.pieceCount,
      blockBytes: BLOCK_BYTES,
      pieceSizeBytes: (piece) => layout.pieceSizeBytes(piece),
      random: () => random.next(),
    });
    this.#peers = new PeerList({ clock, random, transport, connect: () => connect(this) });
    this.bucket = new TokenBucket(limitOf(undefined), clock.now());
    this.#downloadBucket = new TokenBucket(limitOf(undefined), clock.now());
    this.completed = new Promise((resolve) => {
      this.#complete = resolve;
    });
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => {});
  }

  async start(): Promise<void> {
    const { verified, feed } = await this.#options.store.open(this.#stopped.signal);
    if (this.#stopped.signal.aborted) return;
    for (const batch of feed) this.feed.accept(batch);
    for (const piece of verified) {
      // Without its signed hash nobody could take it from us: it is fetched again.
      if (this.feed.hashOf(piece) === undefined) continue;
      this.#picker.enter(piece, 'held');
      this.#hold(piece);
    }
    this.#state = 'transferring';
    this.#tickedAtMs = this.#dependencies.clock.now();
    this.#tick();
    this.#completeWhenFull();
  }

  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new Error('the transfer was stopped'));
    this.#timer?.cancel();
    this.#signTimer?.cancel();
    this.#sign();
    this.#peers.stop();
    for (const connection of this.#connections.values()) connection.close('stopped');
    for (const wake of this.#unnamedWaiters) wake();
    for (const assembly of [...this.#assemblies.values()]) assembly.abort();
    await this.#options.store.close();
  }

  /** The complete list. */
  setPeers(peers: readonly ListedPeer[]): void {
    if (this.#stopped.signal.aborted) return;
    this.#peers.set(peers);
    if (this.#state !== 'pending') this.#connect();
  }

  setRates({ maxRate, maxUploadRate }: Rates): void {
    const now = this.#dependencies.clock.now();
    this.#downloadBucket.setLimit(limitOf(maxRate), now);
    this.bucket.setLimit(limitOf(maxUploadRate), now);
  }

  /** Of a puller: signs what it pulls. */
  setSigner(signer: FeedSigner | undefined): void {
    this.#signer = signer;
    this.#signSoon();
  }

  progress(): TransferProgress {
    return {
      verifiedPieces: this.#held.count,
      verifiedBytes: this.#verifiedBytes,
      received: { ...this.#received },
      uploadedBytes: this.#uploadedBytes,
      rateBytesPerSecond: this.#meter.bytesPerSecond(this.#dependencies.clock.now()),
      firstByteAt: this.#firstByteAt,
      state: this.#state,
    };
  }

  bitfield(): Uint8Array {
    return this.#held.bytes.slice();
  }

  holds(piece: number): boolean {
    return this.#held.has(piece);
  }

  /** Whether its bytes come in now by HTTP, so that follow() gives them. */
  assembles(piece: number): boolean {
    return this.#assemblies.has(piece);
  }

  read(piece: number, offset: number, length: number): Promise<Uint8Array> {
    return this.#options.store.read(piece, offset, length);
  }

  follow(piece: number, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const assembly = this.#assemblies.get(piece);
    if (assembly === undefined) throw new Error(`piece ${piece} is not coming in`);
    return assembly.follow(offset, AbortSignal.any([signal, this.#stopped.signal]));
  }

  pieceSizeBytes(piece: number): number {
    return this.#layout.pieceSizeBytes(piece);
  }

  receivedBytes(): { readonly bitTorrent: number; readonly relayHttp: number } {
    const { fromPeers, fromRelays, fromRelayHttp } = this.#received;
    return { bitTorrent: fromPeers + fromRelays, relayHttp: fromRelayHttp };
  }

  hasUnnamedPieces(): boolean {
    return this.feed.knownPieces < this.pieceCount;
  }

  lacksNamedPieces(): boolean {
    if (this.#held.full) return false;
    for (let piece = 0; piece < this.pieceCount; piece += 1) {
      if (!this.#held.has(piece) && this.feed.hashOf(piece) !== undefined) return true;
    }
    return false;
  }

  /** What top-up may bring, as a BitTorrent bitfield. */
  acceptablePieces(): Uint8Array {
    const now = this.#dependencies.clock.now();
    const acceptable = new Bitfield(this.pieceCount);
    for (let piece = 0; piece < this.pieceCount; piece += 1) {
      if (this.#mayAssemble(piece, now)) acceptable.add(piece);
    }
    return acceptable.bytes;
  }

  /** Undefined: held, being verified, or taken. */
  assemble(piece: number, source: 'origin' | 'relayHttp'): PieceAssembly | undefined {
    if (this.#state !== 'transferring') return undefined;
    if (!this.#mayAssemble(piece, this.#dependencies.clock.now())) return undefined;
    const gaps = this.#takeOver(piece);
    const assembly = new HttpAssembly(piece, source, this.#bufferOf(piece), gaps, {
      wrote: (bytes) => {
        if (source === 'origin') this.#pulledAtMs = this.#dependencies.clock.now();
        this.#payload(source === 'origin' ? 'fromOrigin' : 'fromRelayHttp', bytes);
      },
      finish: (finished) => this.#finish(finished),
      abort: () => {
        this.#assemblies.delete(piece);
        this.#buffers.delete(piece);
        this.#picker.enter(piece, 'missing');
        this.#pumpAll();
      },
    });
    this.#assemblies.set(piece, assembly);
    return assembly;
  }

  /** A signed batch of the feed, from a peer or by HTTP. Answers whether its sender is at fault. */
  acceptBatch(batch: Uint8Array): boolean {
    const { fresh, duplicate, refused } = this.feed.accept(batch);
    if (refused !== undefined) return true;
    if (duplicate) return false;
    this.#options.store.keepFeed([batch]);
    for (const connection of this.#connections.values()) this.#sendFeed(connection);
    if (fresh.length > 0) {
      for (const wake of this.#unnamedWaiters) wake();
      this.#pumpAll();
    }
    return false;
  }

  /** Payload that was sent, over BitTorrent or HTTP. */
  uploaded(bytes: number): void {
    this.#uploadedBytes += bytes;
  }

  isSecondary(connection: PeerConnection): boolean {
    return this.#options.role === 'relay' && connection.remoteRole === 'relay';
  }

  opened(connection: PeerConnection): void {
    if (this.#stopped.signal.aborted) {
      connection.close('stopped');
      return;
    }
    this.#connections.set(connection.number, connection);
    this.#peers.opened(connection);
    this.#sendHoldings(connection);
    if (connection.side === 'opener') connection.send({ type: 'interested' });
    else connection.send({ type: 'unchoke' });
  }

  received(connection: PeerConnection, message: Message): void {
    switch (message.type) {
      case 'extensions':
        this.#sendFeed(connection);
        break;
      case 'bitfield':
      case 'haveAll':
        for (const piece of connection.remoteHas.pieces()) this.#peerHas(piece);
        break;
      case 'have':
        if (connection.remoteHas.add(message.piece)) this.#peerHas(message.piece);
        break;
      case 'request':
        this.#requested(connection, message);
        break;
      case 'cancel':
        this.#cancelled(connection, message);
        break;
      case 'reject':
        if (connection.settle(message)) this.#picker.rejected(connection.number, message);
        break;
      case 'feed':
        if (this.acceptBatch(message.batch)) throw new WireError('Malformed', 'refused feed batch');
        break;
      default:
        break;
    }
  }

  blockBegins(connection: PeerConnection, block: BlockRequest): Uint8Array | undefined {
    if (!connection.isOutstanding(block)) {
      throw new WireError('OutOfOrder', `block ${block.piece}/${block.offset} was not asked for`);
    }
    if (!this.#picker.wants(block.piece, block.offset)) return undefined;
    const key = `${block.piece}/${block.offset}`;
    this.#streaming.get(key)?.dropTarget();
    this.#streaming.set(key, connection);
    return this.#bufferOf(block.piece).subarray(block.offset, block.offset + block.length);
  }

  blockEnds(connection: PeerConnection, block: BlockRequest, kept: boolean): void {
    connection.settle(block);
    connection.rate.received(block.length);
    this.#payload(connection.remoteRole === 'relay' ? 'fromRelays' : 'fromPeers', block.length);
    const key = `${block.piece}/${block.offset}`;
    if (!kept || this.#streaming.get(key) !== connection) return;
    this.#streaming.delete(key);
    const { complete, other } = this.#picker.arrived(connection.number, block.piece, block.offset);
    if (other > 0) this.#connections.get(other)?.send({ type: 'cancel', ...block });
    if (complete) this.#verify(block.piece);
  }

  idle(connection: PeerConnection): void {
    this.#pump(connection);
  }

  drained(connection: PeerConnection): void {
    this.#sendFeed(connection);
    this.#dependencies.uploader.pump();
  }

  closed(connection: PeerConnection, _reason: string): void {
    this.#dependencies.uploader.remove(connection);
    this.#peers.closed(connection);
    if (!this.#connections.delete(connection.number)) return;
    for (const [key, each] of this.#streaming) if (each === connection) this.#streaming.delete(key);
    this.#picker.peerLeft(connection.number, connection.remoteHas);
    if (!this.#stopped.signal.aborted) this.#pumpAll();
  }

  /** Disk errors end the transfer; what is served may end with it. */
  broke(error: unknown): void {
    if (this.#stopped.signal.aborted || this.#state === 'failed') return;
    this.#state = 'failed';
    this.#fail(error);
  }

  /* What we have. */

  #hold(piece: number): void {
    this.#held.add(piece);
    this.#verifiedBytes += this.#layout.pieceSizeBytes(piece);
  }

  #announce(piece: number): void {
    let to: number | 'all' = 'all';
    if (this.#options.role === 'relay') {
      const open = [...this.#connections.values()];
      const agents = open.filter(
        ({ side, remoteRole }) => side === 'acceptor' && remoteRole === 'agent',
      );
      const elsewhere = this.#picker.availability(piece);
      const now = this.#dependencies.clock.now();
      const numbers = agents.map(({ number }) => number);
      to = this.#spread.announce(piece, numbers, elsewhere, now);
    }
    for (const connection of this.#connections.values()) {
      if (to === 'all' || to === connection.number) this.#sendHave(connection, piece);
    }
  }

  #sendHave(connection: PeerConnection, piece: number): void {
    if (!connection.remoteHas.has(piece)) connection.send({ type: 'have', piece });
  }

  #sendHoldings(connection: PeerConnection): void {
    const shown = new Bitfield(this.pieceCount);
    for (const piece of this.#held.pieces()) if (!this.#spread.withholds(piece)) shown.add(piece);
    if (shown.count === 0) connection.send({ type: 'haveNone' });
    else if (shown.full) connection.send({ type: 'haveAll' });
    else connection.send({ type: 'bitfield', bytes: shown.bytes });
  }

  #peerHas(piece: number): void {
    this.#picker.peerHas(piece);
    if (this.#spread.seen(piece)) this.#announceToAll(piece);
  }

  #announceToAll(piece: number): void {
    for (const connection of this.#connections.values()) this.#sendHave(connection, piece);
  }

  /** Only the acceptor sends the feed: who needs it has opened a connection. */
  #sendFeed(connection: PeerConnection): void {
    if (connection.side !== 'acceptor' || connection.remoteFeedId === undefined) return;
    if (connection.feedSent >= this.feed.length) return;
    for (const batch of this.feed.batches(connection.feedSent)) {
      if (connection.queuedBytes > FEED_QUEUE_BYTES) return;
      connection.send({ type: 'feed', batch });
      connection.feedSent += 1;
    }
  }

  #signSoon(): void {
    if (this.#unsigned.length === 0 || this.#signTimer !== undefined) return;
    const { clock } = this.#dependencies;
    const waitMs = this.#signedAtMs + SIGN_INTERVAL_MS - clock.now();
    if (waitMs <= 0) this.#sign();
    else this.#signTimer = clock.setTimer(waitMs, () => this.#sign());
  }

  #sign(): void {
    this.#signTimer = undefined;
    const signer = this.#signer;
    if (signer === undefined) return;
    const due = this.#unsigned.filter(({ piece }) => signer.maySign(piece));
    if (due.length === 0) return;
    this.#unsigned = this.#unsigned.filter(({ piece }) => !signer.maySign(piece));
    this.#signedAtMs = this.#dependencies.clock.now();
    for (const batch of signer.sign(due)) this.acceptBatch(batch);
    for (const { piece } of due) this.#announce(piece);
  }

  /* What peers want. */

  #requested(connection: PeerConnection, block: BlockRequest): void {
    const { piece, offset, length } = block;
    const inside = offset + length <= this.#layout.pieceSizeBytes(piece);
    if (!inside) throw new WireError('Malformed', `request behind the end of piece ${piece}`);
    if (!this.#held.has(piece)) {
      connection.send({ type: 'reject', piece, offset, length });
      return;
    }
    connection.requests.push({ piece, offset, length });
    this.#dependencies.uploader.add(connection, this);
  }

  #cancelled(connection: PeerConnection, { piece, offset, length }: BlockRequest): void {
    const at = connection.requests.findIndex(
      (each) => each.piece === piece && each.offset === offset,
    );
    if (at < 0) return;
    connection.requests.splice(at, 1);
    // BEP 6: every request is answered, a cancelled one too.
    connection.send({ type: 'reject', piece, offset, length });
  }

  /* What we want. */

  #connect(): void {
    const done = this.#held.full && !this.hasUnnamedPieces();
    if (done) this.#peers.closeAll('complete');
    else this.#peers.connectDue();
  }

  #pumpAll(lateAtMs?: number): void {
    if (this.#held.full) return;
    for (const connection of this.#connections.values()) this.#pump(connection, lateAtMs);
  }

  /** Asks this peer for as much as it should owe us. */
  #pump(connection: PeerConnection, lateAtMs?: number): void {
    if (connection.side !== 'opener' || !connection.unchoked || this.#held.full) return;
    if (this.#state !== 'transferring' || connection.maxRequestBytes < BLOCK_BYTES) return;
    const { windowBytes } = connection.rate;
    // In batches of at least two: fewer writes, and a window of the smallest size is one.
    if (windowBytes - connection.outstandingBytes < 2 * BLOCK_BYTES) return;
    const now = this.#dependencies.clock.now();
    // A puller's downlink is for what it alone brings; what others bring it takes afterwards.
    if (now - this.#pulledAtMs < PULLING_MS) return;
    const wanted = (piece: number) => this.feed.hashOf(piece) !== undefined;
    const late = lateAtMs === undefined ? undefined : { nowMs: lateAtMs };
    let budget = MAX_HELD_BYTES - this.#storingBytes - this.#outstandingBytes();
    let owed = connection.outstandingBytes;
    const blocks: BlockRequest[] = [];
    while (owed + BLOCK_BYTES <= windowBytes && budget >= BLOCK_BYTES) {
      if (this.#downloadBucket.available(now) <= 0) break;
      const block = this.#picker.next(connection.number, connection.remoteHas, wanted, late);
      if (block === undefined) break;
      if (connection.isOutstanding(block)) break;
      this.#downloadBucket.spend(block.length, now);
      owed += block.length;
      budget -= block.length;
      this.#picker.asked(connection.number, block, now + connection.rate.deadlineMs(owed));
      blocks.push(block);
    }
    if (blocks.length > 0) connection.request(blocks);
  }

  #outstandingBytes(): number {
    let bytes = 0;
    for (const connection of this.#connections.values()) bytes += connection.outstandingBytes;
    return bytes;
  }

  #bufferOf(piece: number): Uint8Array {
    const known = this.#buffers.get(piece);
    if (known !== undefined) return known;
    const sizeBytes = this.#layout.pieceSizeBytes(piece);
    const spare = sizeBytes === this.#layout.pieceLengthBytes ? this.#spare.pop() : undefined;
    // Shared with the thread that hashes and writes it: nothing is copied.
    const buffer = spare ?? new Uint8Array(new SharedArrayBuffer(sizeBytes));
    this.#buffers.set(piece, buffer);
    return buffer;
  }

  /**
   * Only what came over BitTorrent alone: nobody streams into it any more, while bytes that came
   * by HTTP may still be on their way to those who follow them.
   */
  #reuse(bytes: Uint8Array): void {
    const { pieceLengthBytes } = this.#layout;
    if (bytes.byteLength !== pieceLengthBytes) return;
    if ((this.#spare.length + 1) * pieceLengthBytes <= MAX_SPARE_BYTES) this.#spare.push(bytes);
  }

  #payload(from: keyof TransferProgress['received'], bytes: number): void {
    const now = this.#dependencies.clock.now();
    this.#firstByteAt ??= now;
    this.#received[from] += bytes;
    this.#meter.add(bytes, now);
  }

  /** All blocks came over BitTorrent. */
  #verify(piece: number): void {
    const senders = this.#picker.leaveActive(piece, 'verifying');
    const bytes = this.#bufferOf(piece);
    const expected = this.feed.hashOf(piece);
    // Quarantined since it was asked for: nobody can say whether these bytes are right.
    if (expected === undefined) {
      this.#buffers.delete(piece);
      this.#picker.enter(piece, 'missing');
      return;
    }
    this.#put(piece, bytes, expected).then(
      ({ stored }) => {
        if (stored) {
          this.#reuse(bytes);
          return;
        }
        const sole = this.#suspects.mismatch(piece, bytes, senders);
        if (sole !== undefined) this.#ban(sole);
        this.#pumpAll();
      },
      () => {},
    );
  }

  #ban(number: number): void {
    const connection = this.#connections.get(number);
    if (connection !== undefined) this.#peers.ban(connection);
  }

  #mayAssemble(piece: number, nowMs: number): boolean {
    const state = this.#picker.state(piece);
    return state === 'missing' || (state === 'active' && this.#picker.isLate(piece, nowMs));
  }

  /** What is not here yet of a piece that comes by HTTP from now on. */
  #takeOver(piece: number): { offset: number; length: number }[] {
    const sizeBytes = this.#layout.pieceSizeBytes(piece);
    if (this.#picker.state(piece) === 'missing') {
      this.#picker.enter(piece, 'taken');
      return [{ offset: 0, length: sizeBytes }];
    }
    const senders = this.#picker.leaveActive(piece, 'taken');
    for (const [key, connection] of this.#streaming) {
      if (!key.startsWith(`${piece}/`)) continue;
      connection.dropTarget();
      this.#streaming.delete(key);
    }
    return [...senders].flatMap((sender, block) => {
      const offset = block * BLOCK_BYTES;
      return sender === 0 ? [{ offset, length: Math.min(BLOCK_BYTES, sizeBytes - offset) }] : [];
    });
  }

  async #finish({ piece, source, bytes }: HttpAssembly): Promise<'verified' | 'mismatch'> {
    try {
      while (source === 'relayHttp' && this.feed.hashOf(piece) === undefined) await this.#named();
      this.#picker.enter(piece, 'verifying');
      const expected = this.feed.hashOf(piece);
      const { stored, hash } = await this.#put(piece, bytes, expected);
      if (stored && expected === undefined) {
        this.#unsigned.push({ piece, hash });
        this.#signSoon();
      }
      return stored ? 'verified' : 'mismatch';
    } finally {
      this.#assemblies.delete(piece);
      if (this.#picker.state(piece) === 'taken') this.#picker.enter(piece, 'missing');
    }
  }

  /** The feed named something. */
  #named(): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = () => {
        this.#unnamedWaiters.delete(wake);
        if (this.#stopped.signal.aborted) reject(this.#stopped.signal.reason);
        else resolve();
      };
      this.#unnamedWaiters.add(wake);
    });
  }

  /** From verifying to held, or back to missing. Without a hash it is announced when signed. */
  async #put(piece: number, bytes: Uint8Array, expected: Uint8Array | undefined) {
    this.#storingBytes += bytes.byteLength;
    try {
      const result = await this.#options.store.put(piece, bytes, expected);
      this.#picker.enter(piece, result.stored ? 'held' : 'missing');
      if (result.stored) {
        this.#hold(piece);
        for (const sender of this.#suspects.verified(piece, bytes, BLOCK_BYTES)) this.#ban(sender);
        if (expected !== undefined) this.#announce(piece);
        this.#completeWhenFull();
      }
      return result;
    } catch (error) {
      this.#picker.enter(piece, 'missing');
      this.broke(error);
      throw error;
    } finally {
      this.#buffers.delete(piece);
      this.#storingBytes -= bytes.byteLength;
    }
  }

  #completeWhenFull(): void {
    if (!this.#held.full || this.#state !== 'transferring') return;
    this.#state = 'verifying';
    this.#spare.length = 0;
    this.#connect();
    this.#options.store.complete(this.#stopped.signal).then(
      () => {
        this.#state = 'ready';
        this.#complete();
      },
      (error) => this.broke(error),
    );
  }

  #tick(): void {
    const { clock } = this.#dependencies;
    const now = clock.now();
    for (const connection of this.#connections.values()) {
      connection.rate.tick(now - this.#tickedAtMs, connection.outstandingBytes > 0);
      const silent = now - connection.lastReceivedAtMs > SILENT_MS;
      if (silent && connection.outstandingBytes > 0) connection.close('silent');
    }
    this.#tickedAtMs = now;
    for (const piece of this.#spread.due(now)) this.#announceToAll(piece);
    this.#signSoon();
    this.#connect();
    this.#pumpAll(now);
    this.#timer = clock.setTimer(TICK_MS, () => this.#tick());
  }
}

function limitOf(rateBytesPerSecond: number | undefined) {
  return { rateBytesPerSecond, capacityBytes: (rateBytesPerSecond ?? 0) * BURST_SECONDS };
}
