import type { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Loan, PieceBuffers } from '../ports/pieceBuffers.ts';
import type { BlockRequest, Message } from '../wire/codec.ts';

/** Who is served: a PeerConnection, or a StockConnection. */
export interface Receiver {
  readonly isOpen: boolean;
  /** To be answered, in order. */
  readonly requests: BlockRequest[];
  /** Sent, and not yet taken by the network. */
  readonly queuedBytes: number;
  /** On the way from the disk. */
  readingBytes: number;
  send(...messages: readonly Message[]): void;
  sendBlock(block: BlockRequest, bytes: Uint8Array, onSent?: () => void): void;
}

/** What is served over a connection; made by its transfer. */
export interface Served {
  /** The distribution's own limit. */
  readonly bucket: TokenBucket;
  /** After everybody else: a relay that fills from another relay. */
  isSecondary(connection: Receiver): boolean;
  /** Whether the piece may be given away. */
  serves(piece: number): boolean;
  /** A piece that is in memory still. */
  lend(piece: number): Loan | undefined;
  /** From the disk, into memory that is as long as what is wanted. */
  readInto(piece: number, offset: number, into: Uint8Array): Promise<unknown>;
  uploaded(bytes: number): void;
  broke(error: unknown): void;
}

/** In the socket's queue and on the way from the disk, for one peer. */
const MAX_AHEAD_BYTES = 1_048_576;
const MAX_READS = 16;
/** Others wait, they do not starve: each sixteenth turn is theirs. */
const SECONDARY_TURN = 16;

/** Takes back what is not answered yet. False: there is no such request. */
export function cancelRequest(
  connection: Receiver,
  { piece, offset, length }: BlockRequest,
): boolean {
  const at = connection.requests.findIndex(
    (each) => each.piece === piece && each.offset === offset,
  );
  if (at < 0) return false;
  connection.requests.splice(at, 1);
  // BEP 6: every request is answered, a cancelled one too.
  connection.send({ type: 'reject', piece, offset, length });
  return true;
}

/** Serves every connection of the process in turn, one block each, under the upload limits. */
export class Uploader {
  readonly #bucket: TokenBucket;
  readonly #clock: Clock;
  readonly #memory: PieceBuffers;
  /** With requests to answer, who was served longest ago first. */
  readonly #waiting = new Map<Receiver, Served>();
  #reads = 0;
  #waitsForMemory = false;
  #turn = 0;
  #timer: Timer | undefined;

  constructor(bucket: TokenBucket, clock: Clock, memory: PieceBuffers) {
    this.#bucket = bucket;
    this.#clock = clock;
    this.#memory = memory;
  }

  add(connection: Receiver, served: Served): void {
    if (connection.requests.length > 0 && !this.#waiting.has(connection)) {
      this.#waiting.set(connection, served);
    }
    this.pump();
  }

  remove(connection: Receiver): void {
    this.#waiting.delete(connection);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#waiting.clear();
  }

  pump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    while (this.#reads < MAX_READS && this.#waiting.size > 0) {
      const now = this.#clock.now();
      if (this.#bucket.available(now) <= 0) {
        this.#later(this.#bucket.waitMs(1, now));
        return;
      }
      const next = this.#next(now);
      if (next === undefined) return;
      const [connection, served] = next;
      this.#waiting.delete(connection);
      const block = connection.requests.shift();
      if (block === undefined) continue;
      if (connection.requests.length > 0) this.#waiting.set(connection, served);
      this.#bucket.spend(block.length, now);
      served.bucket.spend(block.length, now);
      const loan = served.lend(block.piece);
      if (loan === undefined) this.#serve(connection, served, block);
      else this.#serveFromMemory(connection, served, block, loan);
    }
  }

  #next(now: number): [Receiver, Served] | undefined {
    let secondary: [Receiver, Served] | undefined;
    let waitMs = Number.POSITIVE_INFINITY;
    this.#turn += 1;
    const secondaryFirst = this.#turn % SECONDARY_TURN === 0;
    // Each may be ahead by what is free of all: many peers get little each, few get enough.
    const mostBytes = Math.min(MAX_AHEAD_BYTES, this.#memory.sendingRoomBytes);
    if (mostBytes <= 0) {
      this.#waitsForMemory = true;
      return undefined;
    }
    for (const entry of this.#waiting) {
      const [connection, served] = entry;
      if (connection.queuedBytes + connection.readingBytes >= mostBytes) continue;
      if (served.bucket.available(now) <= 0) {
        waitMs = Math.min(waitMs, served.bucket.waitMs(1, now));
        continue;
      }
      const isSecondary = served.isSecondary(connection);
      if (isSecondary === secondaryFirst) return entry;
      if (isSecondary || secondaryFirst) secondary ??= entry;
    }
    if (secondary === undefined && waitMs < Number.POSITIVE_INFINITY) this.#later(waitMs);
    return secondary;
  }

  #later(waitMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(Math.min(1000, Math.max(1, waitMs)), () => this.pump());
  }

  #serveFromMemory(
    connection: Receiver,
    served: Served,
    block: BlockRequest,
    { bytes, release }: Loan,
  ): void {
    const { offset, length } = block;
    connection.sendBlock(block, bytes.subarray(offset, offset + length), () => {
      release();
      this.#released();
    });
    served.uploaded(length);
  }

  #serve(connection: Receiver, served: Served, block: BlockRequest): void {
    const { piece, offset, length } = block;
    this.#reads += 1;
    connection.readingBytes += length;
    const loan = this.#memory.takeToSend(length);
    const release = () => {
      loan.release();
      this.#released();
    };
    served
      .readInto(piece, offset, loan.bytes)
      .then(
        () => {
          if (!connection.isOpen) {
            release();
            return;
          }
          connection.sendBlock(block, loan.bytes, release);
          served.uploaded(length);
        },
        (error) => {
          release();
          connection.send({ type: 'reject', ...block });
          served.broke(error);
        },
      )
      .finally(() => {
        this.#reads -= 1;
        connection.readingBytes -= length;
        this.pump();
      });
  }

  #released(): void {
    if (!this.#waitsForMemory) return;
    this.#waitsForMemory = false;
    this.pump();
  }
}
