import type { Bitfield } from '../pieces/bitfield.ts';
import type { Clock } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import type { Random } from '../ports/random.ts';
import { Intake } from '../session/intake.ts';
import { PiecePicker } from '../swarm/piecePicker.ts';
import { type Torrent, verifyingHash } from '../torrent/torrent.ts';
import { type BlockRequest, STOCK_REQUEST_BYTES } from '../wire/codec.ts';
import { sha1Store } from './sha1Store.ts';
import type { StockConnection } from './stockConnection.ts';

export interface StockDownloadDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly memory: PieceBuffers;
  /** Verified and on disk. */
  readonly onStored: (piece: number) => void;
  readonly onFreed: () => void;
  /** By number: it sent wrong bytes. */
  readonly onGuilty: (sender: number) => void;
  readonly onBroken: (error: unknown) => void;
}

/** Outstanding, and waiting for hash and disk; above it nothing is asked for. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;

/** What an ordinary torrent's pieces are asked of whom, and where they come together. */
export class StockDownload {
  readonly store: PieceStore;
  readonly #torrent: Torrent;
  readonly #clock: Clock;
  readonly #picker: PiecePicker;
  readonly #intake: Intake;

  constructor(
    torrent: Torrent,
    store: PieceStore,
    { clock, random, memory, ...handlers }: StockDownloadDependencies,
  ) {
    const { layout } = torrent;
    this.#torrent = torrent;
    this.#clock = clock;
    this.store = torrent.v2 === undefined ? sha1Store(store, torrent) : store;
    this.#picker = new PiecePicker({
      pieceCount: layout.pieceCount,
      blockBytes: STOCK_REQUEST_BYTES,
      pieceSizeBytes: (piece) => layout.pieceSizeBytes(piece),
      random: () => random.next(),
    });
    this.#intake = new Intake(
      {
        owner: (torrent.v2 ?? torrent.v1)?.infoHash.toString('hex') ?? '',
        layout,
        store: this.store,
        blockBytes: STOCK_REQUEST_BYTES,
      },
      {
        clock,
        memory,
        picker: this.#picker,
        feed: { hashOf: (piece) => verifyingHash(torrent, piece) },
        onHttpPayload: () => {},
        isSigning: () => false,
        ...handlers,
      },
    );
    for (let piece = 0; piece < layout.pieceCount; piece += 1) this.#picker.name(piece, true);
  }

  /** What is on disk already, as this torrent has it. */
  async open(signal: AbortSignal): Promise<number[]> {
    const { verified } = await this.store.open(signal);
    // Of version 1 the store knows no hash to compare: it took only what SHA-1 had passed.
    const standing = [...verified].filter(
      ([piece, hash]) =>
        this.#torrent.v2 === undefined || verifyingHash(this.#torrent, piece).equals(hash),
    );
    for (const [piece] of standing) this.#picker.enter(piece, 'held');
    return standing.map(([piece]) => piece);
  }

  stop(): void {
    this.#intake.stop();
  }

  peerHas(piece: number): void {
    this.#picker.peerHas(piece);
  }

  peerLeft(connection: StockConnection): void {
    this.#intake.senderLeft(connection);
    this.#picker.peerLeft(connection.number, connection.remoteHas);
  }

  /** It will not send them, or does not have to any more. */
  refused(connection: StockConnection, blocks: readonly BlockRequest[]): void {
    for (const block of blocks) this.#picker.rejected(connection.number, block);
  }

  blockBegins(connection: StockConnection, block: BlockRequest): Uint8Array | undefined {
    return this.#intake.blockBegins(connection, block);
  }

  /** Who else was asked for it; 0: nobody. */
  blockEnds(connection: StockConnection, block: BlockRequest): number {
    return this.#intake.blockEnds(connection, block);
  }

  /** Asks the peer for as much as it should owe us; `outstandingBytes`: of all peers. */
  pump(connection: StockConnection, outstandingBytes: number, seeksLate: boolean): void {
    const { number, remoteHas, rate } = connection;
    if (!connection.unchoked || !connection.isOpen) return;
    const now = this.#clock.now();
    let budget = MAX_HELD_BYTES - this.#intake.storingBytes - outstandingBytes;
    let owed = connection.outstandingBytes;
    const blocks: BlockRequest[] = [];
    while (owed + STOCK_REQUEST_BYTES <= rate.windowBytes && budget >= STOCK_REQUEST_BYTES) {
      const block =
        this.#picker.next(number, remoteHas) ??
        (seeksLate ? this.#picker.latest(number, remoteHas, now) : undefined);
      if (block === undefined || connection.isOutstanding(block)) break;
      owed += block.length;
      budget -= block.length;
      this.#intake.reserve(block.piece);
      this.#picker.asked(number, block, now, rate.deadlines(owed));
      blocks.push(block);
    }
    if (blocks.length > 0) connection.request(blocks);
  }

  /** Whether it has anything that is not here. */
  wantsOf(remoteHas: Bitfield): boolean {
    for (const piece of remoteHas.pieces()) if (this.#picker.state(piece) !== 'held') return true;
    return false;
  }
}
