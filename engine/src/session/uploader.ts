import type { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Loan, PieceBuffers } from '../ports/pieceBuffers.ts';
import { type BlockRequest, LARGE_REQUEST_BYTES, type Message } from '../wire/codec.ts';

/** Who is served: a PeerConnection, or a StockConnection. */
export interface Receiver {
  readonly isOpen: boolean;
  /** To be answered, in order. */
  readonly requests: BlockRequest[];
  /** Sent, and not yet taken by the network. */
  readonly queuedBytes: number;
  /** Of what was sent the network took so much in the last second or two. */
  readonly takenLatelyBytes: number;
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

/**
 * In the socket's queue and on the way from the disk, for one peer: so many blocks of the size that
 * it asks for, since each takes up the same memory.
 */
const MAX_AHEAD_BLOCKS = 8;
/** Who did not take that many lately may be one that takes nothing more: its memory is lost to all. */
const TRUSTED_BLOCKS = 2;
/** Nor is who took its last block whole in so long, and has nothing waiting: it takes. */
const PROMPT_MS = 200;
/** Of the memory for what is sent, for all of those. */
const TRUSTED_SHARE = 1 / 2;
const MAX_READS = 16;
/** Others wait, they do not starve: each sixteenth turn is theirs. */
const SECONDARY_TURN = 16;

/** Takes back what is not answered yet. */
export function cancelRequest(connection: Receiver, { piece, offset, length }: BlockRequest): void {
  const at = connection.requests.findIndex(
    (each) => each.piece === piece && each.offset === offset,
  );
  if (at < 0) return;
  connection.requests.splice(at, 1);
  // BEP 6: every request is answered, a cancelled one too.
  connection.send({ type: 'reject', piece, offset, length });
}

/** Serves every connection of the process in turn, one block each, under the upload limits. */
export class Uploader {
  readonly #bucket: TokenBucket;
  readonly #clock: Clock;
  readonly #memory: PieceBuffers;
  /** With requests to answer, who was served longest ago first. */
  readonly #waiting = new Map<Receiver, Served>();
  readonly #mostOnTrust: number;
  #isPumping = false;
  #reads = 0;
  /** Blocks that are with peers which may take nothing more. */
  #onTrust = 0;
  /** Who took its last block promptly. */
  readonly #prompt = new WeakSet<Receiver>();
  #waitsForMemory = false;
  #turn = 0;
  #timer: Timer | undefined;

  constructor(bucket: TokenBucket, clock: Clock, memory: PieceBuffers) {
    this.#bucket = bucket;
    this.#clock = clock;
    this.#memory = memory;
    const blocks = memory.sendingRoomBytes / LARGE_REQUEST_BYTES;
    this.#mostOnTrust = Math.max(1, blocks * TRUSTED_SHARE);
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
    // A socket that is gone releases what it is given at once.
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    try {
      this.#serveAll();
    } finally {
      this.#isPumping = false;
    }
  }

  #serveAll(): void {
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
      const isOnTrust = this.#isOnTrust(connection, block);
      const loan = this.#lend(served, block, isOnTrust);
      if (isOnTrust) this.#onTrust += 1;
      const ended = (): void => {
        if (isOnTrust) this.#onTrust -= 1;
        if (this.#clock.now() - now <= PROMPT_MS) this.#prompt.add(connection);
        else this.#prompt.delete(connection);
        this.#released(connection);
      };
      if (loan === undefined) this.#serve(connection, served, block, ended);
      else this.#serveFromMemory(connection, served, block, loan, ended);
    }
  }

  #next(now: number): [Receiver, Served] | undefined {
    let secondary: [Receiver, Served] | undefined;
    let waitMs = Number.POSITIVE_INFINITY;
    this.#turn += 1;
    const secondaryFirst = this.#turn % SECONDARY_TURN === 0;
    // Each may be ahead by what is free of all: many peers get little each, few get enough.
    const roomBytes = this.#memory.sendingRoomBytes;
    if (roomBytes <= 0) {
      this.#waitsForMemory = true;
      return undefined;
    }
    for (const entry of this.#waiting) {
      const [connection, served] = entry;
      const [block] = connection.requests;
      if (block === undefined) return entry;
      const isOnTrust = this.#isOnTrust(connection, block);
      const blocks = isOnTrust ? TRUSTED_BLOCKS : MAX_AHEAD_BLOCKS;
      const mostBytes = Math.min(blocks * block.length, roomBytes);
      if (aheadBytes(connection) >= mostBytes) continue;
      if (isOnTrust && this.#onTrust >= this.#mostOnTrust) {
        this.#waitsForMemory = true;
        continue;
      }
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

  /** Whether it did not take as much lately as it may have at once, and may take nothing more. */
  #isOnTrust(connection: Receiver, { length }: BlockRequest): boolean {
    if (aheadBytes(connection) === 0 && this.#prompt.has(connection)) return false;
    return connection.takenLatelyBytes < MAX_AHEAD_BLOCKS * length;
  }

  #later(waitMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.setTimer(Math.min(1000, Math.max(1, waitMs)), () => this.pump());
  }

  /** The block, when its piece is in memory still. */
  #lend(served: Served, block: BlockRequest, isOnTrust: boolean): Loan | undefined {
    const { piece, offset, length } = block;
    const loan = served.lend(piece);
    if (loan === undefined) return undefined;
    const { release } = loan;
    const bytes = loan.bytes.subarray(offset, offset + length);
    if (!isOnTrust) return { bytes, release };
    // A copy: who may take nothing more is not to hold a whole piece.
    const copy = this.#memory.takeToSend(length);
    copy.bytes.set(bytes);
    release();
    return copy;
  }

  #serveFromMemory(
    connection: Receiver,
    served: Served,
    block: BlockRequest,
    loan: Loan,
    ended: () => void,
  ): void {
    connection.sendBlock(block, loan.bytes, () => {
      loan.release();
      ended();
    });
    served.uploaded(block.length);
  }

  #serve(connection: Receiver, served: Served, block: BlockRequest, ended: () => void): void {
    const { piece, offset, length } = block;
    this.#reads += 1;
    connection.readingBytes += length;
    const loan = this.#memory.takeToSend(length);
    const release = () => {
      loan.release();
      ended();
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

  #released(connection: Receiver): void {
    // A queue that was short tells nobody that it is empty.
    const [block] = this.#waiting.has(connection) ? connection.requests : [];
    const isDue = block !== undefined && aheadBytes(connection) < block.length;
    if (!isDue && !this.#waitsForMemory) return;
    this.#waitsForMemory = false;
    this.pump();
  }
}

function aheadBytes({ queuedBytes, readingBytes }: Receiver): number {
  return queuedBytes + readingBytes;
}
