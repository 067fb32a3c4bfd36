import type { Extent } from '../feed/certificate.ts';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Timer } from '../ports/clock.ts';
import { type HttpConnection, HttpSourceError } from '../ports/httpSource.ts';
import {
  aboutFile,
  conditionFor,
  judgeAnswer,
  type OriginFile,
  PullError,
  refusalIn,
} from './originAnswer.ts';
import {
  FIRST_BACKOFF_MS,
  MAX_FAILURES,
  type PullDependencies,
  type PullEnd,
  type Puller,
  type PullGrant,
  type PullOptions,
  UNSEEN_BYTES,
  type Unproven,
  unseenOf,
} from './puller.ts';
import { AnswerMeters, type PullMeters } from './pullMeters.ts';
import { type PieceAssembly, PullPlan, type PullRange } from './pullPlan.ts';

/** What is read ahead of the rate at most: one socket read and some scheduling. */
const READ_AHEAD_BYTES = 131_072;
/** Pieces being hashed and stored at most; the stream waits. */
const MAX_STORING = 2;
const DRIFT = 0.001;
const EXPIRY_MARGIN_MS = 20;
/** Without this much of the grant left a stream from byte 0 is not worth its bytes. */
const MIN_LEFT_MS = 200;

/**
 * Pulls from an origin that honours no ranges: one stream over one connection from byte 0, paced
 * by not reading. What the kernels buffer meanwhile is the 4 MiB that the lease holds in reserve.
 * Bytes of pieces that are verified already, or not asked for, are read and dropped.
 */
export class OriginStream implements Puller {
  readonly ended: Promise<PullEnd>;
  readonly #options: PullOptions;
  readonly #dependencies: PullDependencies;
  readonly #bucket: TokenBucket;
  readonly #plan: PullPlan;
  readonly #meters = new AnswerMeters();
  readonly #abort = new AbortController();
  #grant: PullGrant;
  #expiresAtMs: number;
  #expiryTimer: Timer | undefined;
  readonly #sleeping = new Set<() => void>();
  #connection: HttpConnection | undefined;
  #lostConnections = 0;
  #lostBytes = 0;
  #running: Promise<void> = Promise.resolve();
  #usedBytes = 0;
  #streaming = false;
  /** Asked for by the last answer. */
  #retryAfterMs = 0;
  #timeToFirstByteMs: number | undefined;
  #end: (end: PullEnd) => void = () => {};
  #over = false;

  constructor(
    grant: PullGrant,
    requestedAtMs: number,
    options: PullOptions,
    dependencies: PullDependencies,
  ) {
    this.#options = options;
    this.#dependencies = dependencies;
    this.#grant = grant;
    this.#expiresAtMs = expiryOf(grant, requestedAtMs);
    this.#bucket = new TokenBucket(limitOf(grant), dependencies.clock.now());
    this.#plan = new PullPlan(dependencies.layout, dependencies.target);
    this.#plan.setExtents(grant.extents);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  start(): void {
    this.#armExpiry();
    this.#running = this.#run();
  }

  adopt(grant: PullGrant, requestedAtMs: number): void {
    if (this.#over) return;
    this.#grant = grant;
    this.#expiresAtMs = Math.max(this.#expiresAtMs, expiryOf(grant, requestedAtMs));
    this.#bucket.setLimit(limitOf(grant), this.#dependencies.clock.now());
    this.#plan.setExtents(grant.extents);
    this.#armExpiry();
  }

  fitsGrant(): boolean {
    return true;
  }

  /** The reserve counts while the stream is open: the origin may have written it. */
  usedBytes(): number {
    return this.#usedBytes + (this.#streaming ? this.#reserveBytes() : 0);
  }

  meters(): PullMeters {
    const { socketBytes, answeredBytes } = this.#meters;
    return { socketBytes, answeredBytes, pieceBytes: this.#plan.verifiedBytes };
  }

  /** No file can have more bytes on the way than it has. */
  #reserveBytes(): number {
    const sizes = this.#options.files.map(({ sizeBytes }) => sizeBytes);
    return Math.min(UNSEEN_BYTES, Math.max(...sizes));
  }

  unfinished(): Extent[] {
    return this.#plan.unfinished();
  }

  timeToFirstByteMs(): number | undefined {
    return this.#timeToFirstByteMs === undefined ? undefined : Math.ceil(this.#timeToFirstByteMs);
  }

  async close(): Promise<void> {
    this.#finish({ kind: 'stopped', reason: 'closed' });
    await this.#running;
    await this.#letGo();
  }

  unproven(): Unproven {
    return { connections: this.#lostConnections, slackBytes: this.#lostBytes };
  }

  async #letGo(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    await connection.close();
    this.#lostConnections += connection.unprovenEnds;
    this.#usedBytes += connection.unaskedBytes;
    this.#meters.unasked(connection.unaskedBytes);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#over) {
      if (this.#plan.done) this.#finish({ kind: 'completed' });
      const left = this.#grant.maxBytes - this.#usedBytes;
      if (left < this.#reserveBytes()) this.#finish({ kind: 'stopped', reason: 'maxBytes' });
      if (this.#over) return;
      if (this.#expiresAtMs - this.#dependencies.clock.now() < MIN_LEFT_MS) {
        await this.#sleep(MIN_LEFT_MS);
        continue;
      }
      const { files } = this.#options;
      let file = files[0] as OriginFile;
      try {
        for (const fileIndex of this.#filesLeft()) {
          file = files[fileIndex] as OriginFile;
          await this.#streamFile(fileIndex);
        }
        failures = 0;
        if (!this.#plan.done) await this.#sleep(FIRST_BACKOFF_MS);
      } catch (error) {
        if (this.#over) return;
        const about = aboutFile(file, files);
        const refusal = refusalIn(error, about);
        if (refusal !== undefined) return this.#finish({ kind: 'failed', error: refusal });
        failures += 1;
        await this.#letGo();
        // The origin may have the one connection of the lease open still.
        if (failures >= MAX_FAILURES || this.#lostConnections > 0) {
          const message = `${about}${error instanceof Error ? error.message : String(error)}`;
          const failed = new PullError('SourceUnavailable', message, undefined, error);
          return this.#finish({ kind: 'failed', error: failed });
        }
        await this.#sleep(Math.max(FIRST_BACKOFF_MS * 2 ** (failures - 1), this.#retryAfterMs));
      }
    }
  }

  #filesLeft(): number[] {
    const { layout } = this.#dependencies;
    return [
      ...new Set(
        this.#plan
          .unfinished()
          .flatMap(({ first, count }) =>
            Array.from({ length: count }, (_, index) => layout.locate(first + index).fileIndex),
          ),
      ),
    ];
  }

  /** The whole of one file; rejects when the stream breaks. */
  async #streamFile(fileIndex: number): Promise<void> {
    const file = this.#options.files[fileIndex] as OriginFile;
    await this.#letGo();
    if (this.#lostConnections > 0) throw new Error('the connection before it may be open still');
    const connection = this.#dependencies.http.connection(new URL(file.url));
    this.#connection = connection;
    const stream = new StreamPosition(this.#plan, fileIndex, this.#options.pieceLengthBytes);
    const stores = new Set<Promise<void>>();
    // Of an answer that is not the file only its own length may come.
    let unseenBytes: number | undefined;
    let countedBytes = 0;
    const meter = this.#meters.begin();
    const count = (bytes: number) => {
      countedBytes += bytes;
      this.#usedBytes += bytes;
    };
    this.#retryAfterMs = 0;
    this.#streaming = true;
    try {
      const { wireBytes } = await connection.request(
        {
          headers: { ...this.#options.headers, ...conditionFor(file.validator) },
          onHead: (head) => {
            meter.head(head);
            this.#timeToFirstByteMs ??= head.timeToHeadMs;
            count(head.headerBytes);
            const verdict = judgeAnswer(head, file);
            if (verdict.kind === 'body') return;
            // What calls itself the file may be any file, of any length.
            unseenBytes = head.status < 300 ? UNSEEN_BYTES : unseenOf(head);
            if (verdict.kind === 'error') throw verdict.error;
            this.#retryAfterMs = verdict.afterMs;
            throw new Error(verdict.message);
          },
          onChunk: async (chunk) => {
            meter.body(chunk.byteLength);
            count(chunk.byteLength);
            // Timers stand still while a machine sleeps: the one of the end may come too late.
            if (this.#dependencies.clock.now() >= this.#expiresAtMs) {
              return this.#finish({ kind: 'stopped', reason: 'expiry' });
            }
            if (stream.offset + chunk.byteLength > file.sizeBytes) {
              unseenBytes = UNSEEN_BYTES;
              const message = `the file has more than ${file.sizeBytes} bytes now`;
              throw new PullError('SourceChanged', message);
            }
            for (const piece of stream.write(chunk)) {
              const storing = this.#store(piece).finally(() => stores.delete(storing));
              stores.add(storing);
            }
            if (stores.size >= MAX_STORING) await Promise.race(stores);
            await this.#pay(chunk.byteLength);
            const left = this.#grant.maxBytes - this.#usedBytes;
            if (left < Math.min(UNSEEN_BYTES, file.sizeBytes - stream.offset)) {
              this.#finish({ kind: 'stopped', reason: 'maxBytes' });
            }
          },
        },
        this.#abort.signal,
      );
      count(Math.max(0, wireBytes - countedBytes));
      meter.over(wireBytes, true);
      if (stream.offset < file.sizeBytes) {
        throw new Error(`the answer ended after ${stream.offset} of ${file.sizeBytes} bytes`);
      }
    } catch (error) {
      const failure = error instanceof HttpSourceError ? error : undefined;
      if (failure !== undefined) {
        count(Math.max(0, failure.wireBytes - countedBytes));
        meter.over(failure.wireBytes, false);
      }
      if (failure?.code === 'MalformedAnswer') unseenBytes = UNSEEN_BYTES;
      const rest = Math.max(0, file.sizeBytes - stream.offset);
      const most = failure?.exact === true ? 0 : (unseenBytes ?? Math.min(UNSEEN_BYTES, rest));
      this.#usedBytes += most;
      if (connection.unprovenEnds > 0) this.#lostBytes += most;
      throw error;
    } finally {
      this.#streaming = false;
      stream.end();
      await Promise.all(stores);
    }
  }

  /** Holds the reading up until these bytes are within the rate. */
  async #pay(bytes: number): Promise<void> {
    const { clock } = this.#dependencies;
    while (!this.#over && !this.#bucket.spend(bytes, clock.now())) {
      await this.#sleep(Math.max(1, this.#bucket.waitMs(1, clock.now())));
    }
  }

  async #store(assembly: PieceAssembly): Promise<void> {
    try {
      this.#plan.finished(assembly.piece, (await assembly.finish()) === 'verified');
    } catch (cause) {
      this.#plan.finished(assembly.piece, false);
      const message = `piece ${assembly.piece} is not stored`;
      const error = new PullError('StoreFailed', message, undefined, cause);
      this.#finish({ kind: 'failed', error });
    }
  }

  /** Ends early when the pull is over. */
  #sleep(delayMs: number): Promise<void> {
    if (this.#over) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        timer.cancel();
        this.#sleeping.delete(wake);
        resolve();
      };
      const timer = this.#dependencies.clock.setTimer(delayMs, wake);
      this.#sleeping.add(wake);
    });
  }

  #armExpiry(): void {
    this.#expiryTimer?.cancel();
    const delayMs = Math.max(0, this.#expiresAtMs - this.#dependencies.clock.now());
    this.#expiryTimer = this.#dependencies.clock.setTimer(delayMs, () => {
      this.#finish({ kind: 'stopped', reason: 'expiry' });
    });
  }

  #finish(end: PullEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#expiryTimer?.cancel();
    this.#abort.abort(new Error(`the pull is over: ${end.kind}`));
    for (const wake of [...this.#sleeping]) wake();
    this.#plan.abort();
    this.#end(end);
  }
}

/** Where a stream is in its file, and which wanted bytes come next in it. */
class StreamPosition {
  readonly #plan: PullPlan;
  readonly #fileIndex: number;
  readonly #pieceLengthBytes: number;
  #wanted: PullRange | undefined;
  #offset = 0;

  constructor(plan: PullPlan, fileIndex: number, pieceLengthBytes: number) {
    this.#plan = plan;
    this.#fileIndex = fileIndex;
    this.#pieceLengthBytes = pieceLengthBytes;
  }

  get offset(): number {
    return this.#offset;
  }

  /** Keeps what is wanted of the chunk; returns the pieces that it completes. */
  write(chunk: Uint8Array): PieceAssembly[] {
    const complete: PieceAssembly[] = [];
    const end = this.#offset + chunk.byteLength;
    let at = this.#offset;
    while (at < end) {
      this.#wanted ??= this.#plan.next(this.#pieceLengthBytes, {
        fileIndex: this.#fileIndex,
        offset: at,
      });
      if (this.#wanted === undefined || this.#wanted.start >= end) break;
      const { start, end: wantedEnd } = this.#wanted;
      const from = Math.max(at, start);
      const to = Math.min(end, wantedEnd);
      const part = chunk.subarray(from - this.#offset, to - this.#offset);
      complete.push(...this.#plan.write(this.#wanted, from - start, part));
      at = to;
      if (to === wantedEnd) this.#wanted = undefined;
    }
    this.#offset = end;
    return complete;
  }

  /** Gives back what did not come. */
  end(): void {
    if (this.#wanted === undefined) return;
    this.#plan.putBack(this.#wanted, Math.max(0, this.#offset - this.#wanted.start));
    this.#wanted = undefined;
  }
}

function limitOf(grant: PullGrant): { rateBytesPerSecond: number; capacityBytes: number } {
  const rateBytesPerSecond = grant.rateBytesPerSecond * (1 - DRIFT);
  return { rateBytesPerSecond, capacityBytes: READ_AHEAD_BYTES };
}

function expiryOf(grant: PullGrant, requestedAtMs: number): number {
  return requestedAtMs + grant.ttlMs * (1 - DRIFT) - EXPIRY_MARGIN_MS;
}
