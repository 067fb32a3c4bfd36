/*
 * session/ runs transfers: it takes events from sockets, disk and timers, asks the pure parts what
 * follows, and does it.
 */
import type { BatchJudge } from '../feed/batchJudge.ts';
import { FeedLog } from '../feed/feedLog.ts';
import type { FeedSigner } from '../feed/feedSigner.ts';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import type { Layout } from '../pieces/layout.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Loan, PieceBuffers } from '../ports/pieceBuffers.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import type { Random } from '../ports/random.ts';
import type { Transport } from '../ports/transport.ts';
import { PiecePicker } from '../swarm/piecePicker.ts';
import { LARGE_REQUEST_BYTES } from '../wire/codec.ts';
import type { PeerRole } from '../wire/hello.ts';
import { Completion, type TransferState } from './completion.ts';
import { Exchange } from './exchange.ts';
import { FeedPublisher } from './feedPublisher.ts';
import { Holdings } from './holdings.ts';
import { Intake } from './intake.ts';
import { HmacMembership, type Membership } from './membership.ts';
import { PayloadCount, type PayloadFacts } from './payloadCount.ts';
import type { ConnectionOwner, PeerConnection } from './peerConnection.ts';
import type { ListedPeer } from './peerList.ts';
import type { PieceAssembly, PullTarget } from './pullPlan.ts';
import type { Served, Uploader } from './uploader.ts';

export interface TransferOptions {
  /** Hex. */
  readonly swarmId: string;
  readonly role: PeerRole;
  readonly layout: Layout;
  readonly store: PieceStore;
  /** Raw Ed25519 public key of the distribution. */
  readonly feedKey: Uint8Array;
  /** Of the feed; absent: its own. */
  readonly judge?: BatchJudge;
  readonly swarmSecret: Uint8Array;
  /** Absent: by the secret. */
  readonly membership?: Membership;
}

export interface TransferDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly uploader: Uploader;
  readonly memory: PieceBuffers;
  readonly connect: (owner: ConnectionOwner) => PeerConnection;
  /** From now on peers may come. */
  readonly onStarted: () => void;
  /** A batch of the feed came that only a newer release can read. */
  readonly onNewerBatch: () => void;
  /** A peer, by its address, sent wrong bytes of the piece, and is asked for nothing any more. */
  readonly onBanned: (peer: string, piece: number) => void;
}

/** Bytes per second; undefined: none. */
export interface Rates {
  readonly minRate?: number | undefined;
  readonly maxRate?: number | undefined;
  readonly maxUploadRate?: number | undefined;
}

export interface TransferProgress extends PayloadFacts {
  readonly verifiedPieces: number;
  readonly verifiedBytes: number;
  readonly state: TransferState;
}

const BLOCK_BYTES = LARGE_REQUEST_BYTES;
const TICK_MS = 100;
/** A piece that peers think we have they do not tell us of: so long it may wait. */
const RENEW_MS = 3000;
/** A process that had bytes of the origin so lately is pulling. */
const PULLING_MS = 1000;
/** How long a rate cap may save up what it did not use. */
const BURST_SECONDS = 0.25;

/** A version that was whole is not: another attempt puts it right. */
class PieceRevokedError extends Error {
  readonly code = 'PieceRevoked';
}

/** One distribution's epoch in this process: downloads, verifies, stores, serves. */
export class Transfer implements Served {
  readonly feed: FeedLog;
  readonly pieceCount: number;
  /** Of maxUploadRate. */
  readonly bucket: TokenBucket;
  /** What connections belong to. */
  readonly exchange: Exchange;
  readonly #options: TransferOptions;
  readonly #dependencies: Pick<TransferDependencies, 'onStarted' | 'onNewerBatch'>;
  readonly #clock: Clock;
  readonly #memory: PieceBuffers;
  readonly #layout: Layout;
  readonly #picker: PiecePicker;
  readonly #intake: Intake;
  readonly #holdings: Holdings;
  readonly #publisher: FeedPublisher;
  readonly #payload = new PayloadCount();
  readonly #downloadBucket: TokenBucket;
  readonly #stopped = new AbortController();
  readonly #completion: Completion;
  #pulledAtMs = Number.NEGATIVE_INFINITY;
  /** Peers think that we have more than we have. */
  #hasDropped = false;
  #renewedAtMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #tickedAtMs = 0;

  constructor(options: TransferOptions, dependencies: TransferDependencies) {
    const { clock, random } = dependencies;
    const { layout, store, feedKey, role, swarmSecret } = options;
    const { membership = new HmacMembership(swarmSecret) } = options;
    const swarmId = Buffer.from(options.swarmId, 'hex');
    this.#options = options;
    this.#dependencies = dependencies;
    this.#clock = clock;
    this.#memory = dependencies.memory;
    this.#layout = layout;
    this.#completion = new Completion(store);
    this.pieceCount = layout.pieceCount;
    const { pieceCount } = layout;
    this.feed = new FeedLog({ swarmId, feedKey, pieceCount }, options.judge);
    this.bucket = new TokenBucket(limitOf(undefined), clock.now());
    this.#downloadBucket = new TokenBucket(limitOf(undefined), clock.now());
    this.#picker = new PiecePicker({
      pieceCount: layout.pieceCount,
      blockBytes: BLOCK_BYTES,
      pieceSizeBytes: (piece) => layout.pieceSizeBytes(piece),
      random: () => random.next(),
    });
    const shared = { clock, picker: this.#picker, feed: this.feed };
    this.#intake = new Intake(
      { owner: options.swarmId, layout, store, blockBytes: BLOCK_BYTES },
      {
        ...shared,
        memory: dependencies.memory,
        onHttpPayload: (source, bytes) => this.#httpPayload(source, bytes),
        isSigning: () => this.#publisher.isSigning,
        onStored: (piece, hash, isFirstHand) => this.#stored(piece, hash, isFirstHand),
        onFreed: () => this.exchange.pump(),
        onGuilty: (sender, piece) => {
          if (this.#holdings.isContested(piece)) this.exchange.disbelieve(sender, piece);
          else this.exchange.ban(sender, piece);
        },
        onBroken: (error) => this.broke(error),
      },
    );
    this.#publisher = new FeedPublisher({
      clock,
      unnamedPieces: () => this.pieceCount - this.feed.knownPieces,
      publish: (batches, pieces) => {
        for (const batch of batches) this.acceptBatch(batch);
        for (const piece of pieces) this.#holdings.reconcile(piece);
      },
    });
    this.#holdings = new Holdings({
      layout,
      store,
      feed: this.feed,
      picker: this.#picker,
      intake: this.#intake,
      publisher: this.#publisher,
      onOffered: (piece) => {
        if (this.isStarted) this.exchange.announce(piece);
      },
      onDropped: (piece) => this.#dropped(piece),
    });
    this.exchange = new Exchange(
      { swarmId, membership, role, layout, blockBytes: BLOCK_BYTES },
      {
        ...dependencies,
        ...shared,
        offered: this.#holdings.offered,
        intake: this.#intake,
        downloadBucket: this.#downloadBucket,
        served: this,
        wantsPieces: () => this.#wantsPieces(),
        isPulling: () => this.#isPulling(),
        acceptBatch: (batch) => this.acceptBatch(batch),
        onPayload: (from, bytes) =>
          this.#payload.received(from === 'relay' ? 'fromRelays' : 'fromPeers', bytes, clock.now()),
        onBroken: (error) => this.broke(error),
      },
    );
  }

  /** store.complete() is done. Never rejects; see `failed`. */
  get completed(): Promise<void> {
    return this.#completion.completed;
  }

  /** Rejects, with a coded error, when it cannot go on; never resolves. */
  get failed(): Promise<never> {
    return this.#completion.failed;
  }

  /** Rejects when it is aborted, or stopped, before the store is open: that may take long. */
  async start(signal = this.#stopped.signal): Promise<void> {
    const either = AbortSignal.any([signal, this.#stopped.signal]);
    const { verified, proven, feed } = await this.#options.store.open(either);
    if (this.#stopped.signal.aborted) return;
    for (const batch of feed) this.feed.accept(batch);
    this.#holdings.open(verified, proven);
    this.#completion.begin();
    this.#tickedAtMs = this.#clock.now();
    this.#tick();
    this.#dependencies.onStarted();
    this.#completeWhenFull();
  }

  /** It knows what it holds: before that a peer would be told that it holds nothing. */
  get isStarted(): boolean {
    return this.#completion.state !== 'pending';
  }

  async stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort(new Error('the transfer was stopped'));
    this.#completion.stop(this.#stopped.signal.reason);
    this.#timer?.cancel();
    this.#publisher.stop();
    this.exchange.stop();
    this.#intake.stop();
    this.#memory.forget(this.#options.swarmId);
    await this.#options.store.close();
  }

  /** The complete list. */
  setPeers(peers: readonly ListedPeer[]): void {
    if (this.#stopped.signal.aborted) return;
    this.exchange.setPeers(peers);
    if (this.isStarted) this.exchange.connect();
  }

  setRates({ maxRate, maxUploadRate }: Rates): void {
    const now = this.#clock.now();
    this.#downloadBucket.setLimit(limitOf(maxRate), now);
    this.bucket.setLimit(limitOf(maxUploadRate), now);
  }

  /** Of a puller: signs what it pulls. */
  setSigner(signer: FeedSigner | undefined): void {
    this.#publisher.setSigner(signer);
  }

  /** Signs what was here already, by its digest. */
  setHeldSigner(signer: FeedSigner): void {
    this.#publisher.setHeldSigner(signer);
  }

  progress(): TransferProgress {
    return {
      verifiedPieces: this.#holdings.count,
      verifiedBytes: this.#holdings.verifiedBytes,
      ...this.#payload.facts(this.#clock.now()),
      state: this.#completion.state,
    };
  }

  /** What others can have of us: held, and signed as that. */
  bitfield(): Uint8Array {
    return this.#holdings.servable().bytes;
  }

  /** What any connected peer has, as a BitTorrent bitfield. */
  spreadPieces(): Uint8Array {
    const pieces = new Bitfield(this.pieceCount);
    for (let piece = 0; piece < this.pieceCount; piece += 1) {
      if (this.#picker.availability(piece) > 0) pieces.add(piece);
    }
    return pieces.bytes;
  }

  /** Whether somebody takes from us, who would lose with us what none of our peers has. */
  holdsAlone(): boolean {
    if (!this.exchange.hasTakers) return false;
    if (this.#intake.storingBytes > 0) return true;
    for (let piece = 0; piece < this.pieceCount; piece += 1) {
      if (this.#holdings.has(piece) && this.#picker.availability(piece) === 0) return true;
    }
    return false;
  }

  holds(piece: number): boolean {
    return this.#holdings.has(piece);
  }

  /** Whether it may be given away: held, and as it is signed, or about to be signed as it is. */
  serves(piece: number): boolean {
    return this.#holdings.serves(piece);
  }

  /** Whether its bytes come in now by HTTP, so that follow() gives them. */
  assembles(piece: number): boolean {
    return this.#intake.assembles(piece);
  }

  read(piece: number, offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    return this.#options.store.read(piece, offset, length, into);
  }

  readInto(piece: number, offset: number, into: Uint8Array): Promise<unknown> {
    return this.#options.store.read(piece, offset, into.byteLength, into);
  }

  /** Its bytes, when they are in memory still. */
  lend(piece: number): Loan | undefined {
    return this.#memory.lend(this.#options.swarmId, piece);
  }

  /** Resolves when there may be more to give; rejects when it is aborted. */
  arrival(signal: AbortSignal): Promise<void> {
    return this.#intake.arrival(signal);
  }

  follow(piece: number, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#intake.follow(piece, offset, signal);
  }

  pieceSizeBytes(piece: number): number {
    return this.#layout.pieceSizeBytes(piece);
  }

  /**
   * Payload, verified or not, with what has come of blocks that are on their way: over a slow link
   * a block takes seconds.
   */
  receivedBytes() {
    const received = this.#payload.byProtocol();
    return { ...received, bitTorrent: received.bitTorrent + this.exchange.arrivingBytes };
  }

  hasUnnamedPieces(): boolean {
    return this.feed.knownPieces < this.pieceCount;
  }

  lacksNamedPieces(): boolean {
    return this.#holdings.lacksNamed();
  }

  /** What top-up may bring, as a BitTorrent bitfield. */
  acceptablePieces(): Uint8Array {
    return this.#intake.acceptablePieces();
  }

  /** What top-up from the origin may bring: acceptable, and named by the feed, to be verified. */
  originPieces(): Uint8Array {
    const pieces = new Bitfield(this.pieceCount);
    for (let piece = 0; piece < this.pieceCount; piece += 1) {
      if (this.#needsOrigin(piece)) pieces.add(piece);
    }
    return pieces.bytes;
  }

  /** A pull of pieces that others may bring, too: those are nothing to wait for. */
  asTopUpTarget(): PullTarget {
    return {
      holds: (piece) => !this.#needsOrigin(piece),
      assemble: (piece, source) =>
        this.#needsOrigin(piece) ? this.assemble(piece, source, true) : undefined,
    };
  }

  /** Undefined: held, being verified, or taken. */
  assemble(
    piece: number,
    source: 'origin' | 'relayHttp',
    isTopUp = source === 'relayHttp',
  ): PieceAssembly | undefined {
    if (this.#completion.state !== 'transferring') return undefined;
    return this.#intake.assemble(piece, source, isTopUp);
  }

  /** Of maxRate, for what relays are asked for; requests to peers spend from the same bucket. */
  admitDownload(bytes: number): boolean {
    return this.#downloadBucket.spend(bytes, this.#clock.now());
  }

  refundDownload(bytes: number): void {
    this.#downloadBucket.refund(bytes, this.#clock.now());
  }

  /** A signed batch of the feed, from a peer or by HTTP. Answers whether its sender is at fault. */
  acceptBatch(batch: Uint8Array): boolean {
    const { fresh, duplicate, refused, conflicts } = this.feed.accept(batch);
    if (refused === 'newer') {
      this.#dependencies.onNewerBatch();
      return false;
    }
    if (refused !== undefined) return true;
    if (duplicate) return false;
    this.#options.store.keepFeed([batch]);
    // First, so that peers know what it is that they are told we have.
    this.exchange.feedGrew();
    for (const { piece } of fresh) this.#holdings.reconcile(piece);
    for (const piece of conflicts) this.#holdings.reconcile(piece);
    if (fresh.length > 0) {
      this.#intake.feedGrew();
      this.exchange.pump();
      this.#completeWhenFull();
    }
    return false;
  }

  /** Pieces of which different hashes are signed, so many at most, with what shows it. */
  disputes(atMost: number): { piece: number; batches: Uint8Array[] }[] {
    const pieces = [...this.feed.disputed].slice(0, atMost);
    return pieces.map((piece) => ({ piece, batches: this.feed.evidenceOf(piece) }));
  }

  /** Pullers (raw keys) whose word does not count any more, and what follows from that. */
  revoke(pullerKeys: readonly Uint8Array[]): void {
    const changed = this.feed.revoke(pullerKeys);
    // What is on the disk is compared when it has been read.
    if (!this.isStarted || changed.length === 0) return;
    for (const piece of changed) this.#holdings.reconcile(piece);
    this.#intake.feedGrew();
    this.exchange.pump();
    this.#completeWhenFull();
  }

  /** Payload that was sent, over BitTorrent or HTTP. */
  uploaded(bytes: number): void {
    this.#payload.uploaded(bytes);
  }

  isSecondary(connection: PeerConnection): boolean {
    return this.#options.role === 'relay' && connection.remoteRole === 'relay';
  }

  /** Disk errors end the transfer; what is served may end with it. */
  broke(error: unknown): void {
    this.#completion.fail(error);
  }

  #needsOrigin(piece: number): boolean {
    return this.feed.names(piece) && this.#intake.mayTopUp(piece);
  }

  #wantsPieces(): boolean {
    if (this.#holdings.full || this.#completion.state !== 'transferring') return false;
    // A puller's downlink is for what it alone brings; what others bring it takes afterwards.
    return !this.#isPulling();
  }

  #isPulling(): boolean {
    return this.#clock.now() - this.#pulledAtMs < PULLING_MS;
  }

  /** Peers were told that we have it. */
  #dropped(piece: number): void {
    this.#memory.discard(this.#options.swarmId, piece);
    this.exchange.lost(piece);
    this.#hasDropped = true;
    if (this.#completion.state === 'transferring') return;
    const message = `piece ${piece} is not what was signed at first: it is fetched again`;
    this.broke(new PieceRevokedError(message));
  }

  #stored(piece: number, hash: Uint8Array, isFirstHand: boolean): void {
    this.#holdings.stored(piece, hash, isFirstHand);
    this.exchange.memoryFreed();
    this.#completeWhenFull();
  }

  #httpPayload(source: 'origin' | 'relayHttp', bytes: number): void {
    const now = this.#clock.now();
    if (source === 'origin') {
      if (this.#publisher.isSigning) this.#pulledAtMs = now;
      // Its pace is the lease's: what comes counts, and everything else is asked for so much less.
      this.#downloadBucket.charge(bytes, now);
    }
    this.#payload.received(source === 'origin' ? 'fromOrigin' : 'fromRelayHttp', bytes, now);
  }

  #completeWhenFull(): void {
    const { state } = this.#completion;
    if (!this.#holdings.full || state !== 'transferring' || this.#holdings.isInDoubt()) return;
    this.#completion.place();
    this.exchange.connect();
  }

  #tick(): void {
    const now = this.#clock.now();
    this.#publisher.signSoon();
    this.exchange.tick(now - this.#tickedAtMs);
    this.#tickedAtMs = now;
    if (this.#hasDropped && now - this.#renewedAtMs >= RENEW_MS) {
      this.#hasDropped = false;
      this.#renewedAtMs = now;
      this.exchange.renew();
    }
    this.#timer = this.#clock.setTimer(TICK_MS, () => this.#tick());
  }
}

function limitOf(rateBytesPerSecond: number | undefined) {
  return { rateBytesPerSecond, capacityBytes: (rateBytesPerSecond ?? 0) * BURST_SECONDS };
}
