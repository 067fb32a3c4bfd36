import type { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import { type BlockRequest, LARGE_REQUEST_BYTES } from '../wire/codec.ts';
import type { PeerConnection } from './peerConnection.ts';
import type { Loan } from './pieceMemory.ts';

/** What is served over a connection; made by its transfer. */
export interface Served {
  /** The distribution's own limit. */
  readonly bucket: TokenBucket;
  /** After everybody else: a relay that fills from another relay. */
  isSecondary(connection: PeerConnection): boolean;
  /** A piece that is in memory still. */
  lend(piece: number): Loan | undefined;
  read(piece: number, offset: number, length: number, into: Uint8Array): Promise<Uint8Array>;
  uploaded(bytes: number): void;
  broke(error: unknown): void;
}

/** In the socket's queue and on the way from the disk, for one peer. */
const MAX_AHEAD_BYTES = 1_048_576;
const MAX_READS = 16;
/** Memory for what is read, kept to be used again: as much as is on its way to a few fast peers. */
const MAX_SPARE_BLOCKS = 64;
/** Others wait, they do not starve: each sixteenth turn is theirs. */
const SECONDARY_TURN = 16;

/** Serves every connection of the process in turn, one block each, under the upload limits. */
export class Uploader {
  readonly #bucket: TokenBucket;
  readonly #clock: Clock;
  /** With requests to answer, who was served longest ago first. */
  readonly #waiting = new Map<PeerConnection, Served>();
  /** Of LARGE_REQUEST_BYTES each. Fresh memory for each read keeps the collector busy. */
  readonly #spare: Uint8Array[] = [];
  #reads = 0;
  #turn = 0;
  #timer: Timer | undefined;

  constructor(bucket: TokenBucket, clock: Clock) {
    this.#bucket = bucket;
    this.#clock = clock;
  }

  add(connection: PeerConnection, served: Served): void {
    if (connection.requests.length > 0 && !this.#waiting.has(connection)) {
      this.#waiting.set(connection, served);
    }
    this.pump();
  }

  remove(connection: PeerConnection): void {
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

  #next(now: number): [PeerConnection, Served] | undefined {
    let secondary: [PeerConnection, Served] | undefined;
    let waitMs = Number.POSITIVE_INFINITY;
    this.#turn += 1;
    const secondaryFirst = this.#turn % SECONDARY_TURN === 0;
    for (const entry of this.#waiting) {
      const [connection, served] = entry;
      if (connection.queuedBytes + connection.readingBytes >= MAX_AHEAD_BYTES) continue;
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
    connection: PeerConnection,
    served: Served,
    block: BlockRequest,
    { bytes, release }: Loan,
  ): void {
    const { offset, length } = block;
    connection.sendBlock(block, bytes.subarray(offset, offset + length), release);
    served.uploaded(length);
  }

  #serve(connection: PeerConnection, served: Served, block: BlockRequest): void {
    this.#reads += 1;
    connection.readingBytes += block.length;
    const memory = this.#spare.pop() ?? Buffer.allocUnsafeSlow(LARGE_REQUEST_BYTES);
    const release = () => {
      if (this.#spare.length < MAX_SPARE_BLOCKS) this.#spare.push(memory);
    };
    served
      .read(block.piece, block.offset, block.length, memory)
      .then(
        (bytes) => {
          if (!connection.isOpen) {
            release();
            return;
          }
          connection.sendBlock(block, bytes, release);
          served.uploaded(block.length);
        },
        (error) => {
          release();
          connection.send({ type: 'reject', ...block });
          served.broke(error);
        },
      )
      .finally(() => {
        this.#reads -= 1;
        connection.readingBytes -= block.length;
        this.pump();
      });
  }
}
