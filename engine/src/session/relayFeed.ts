import {
  decodeBatchList,
  FEED_LOG_HEADER,
  FEED_NEXT_HEADER,
  MAX_FEED_ANSWER_BYTES,
} from '../feed/batchList.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { HttpConnection, HttpSource } from '../ports/httpSource.ts';
import { relayUrl, type TopUpRelay } from './relayUrl.ts';

/** What is needed of a transfer to keep its feed up to date. */
export interface FeedTarget {
  /** Whether there are pieces whose hash is not known yet. */
  hasUnnamedPieces(): boolean;
  /**
   * A signed batch of the feed; verified there, and passed on to peers. Answers whether its sender
   * is at fault.
   */
  acceptBatch(batch: Uint8Array): boolean;
  /** Payload received so far, verified or not; less where a block that was arriving is given up. */
  receivedBytes(): { readonly bitTorrent: number; readonly relayHttp: number };
  /** A mistake of ours: it cannot go on. */
  broke(error: unknown): void;
}

export interface RelayFeedOptions {
  /** Hex. */
  readonly swarmId: string;
  readonly relayToken: string;
}

/** Between two looks whether the feed has to be asked for, and two questions while it brings news. */
const POLL_MS = 300;
/**
 * A relay is asked again after this share of the time for which it had nothing new: what comes at
 * last is heard of that much later at most. A transfer that stands still has nodes ask all day.
 */
const PAUSE_SHARE = 1 / 20;
const MAX_PAUSE_MS = 5000;
/** A relay has many nodes: who comes back later than that holds none of its connections meanwhile. */
const MAX_KEPT_MS = 1000;
const REQUEST_TIMEOUT_MS = 3000;

interface Source {
  readonly url: URL;
  log: string;
  next: number;
  /** The log that was asked for from the start once more. */
  toldAgain: string;
  /** When it had news, or any were likely. */
  newsAtMs: number;
  dueAtMs: number;
}

/**
 * Brings the feed over HTTP while BitTorrent brings nothing: a node that no peer can be reached
 * from would otherwise know of no piece that it lacks, and nothing it fetched would ever verify.
 */
export class RelayFeed {
  readonly #options: RelayFeedOptions;
  readonly #clock: Clock;
  readonly #http: HttpSource;
  readonly #target: FeedTarget;
  #sources: Source[] = [];
  /** To those that are asked often. */
  readonly #kept = new Map<Source, HttpConnection>();
  #turn = 0;
  #movedBytes = { bitTorrent: 0, relayHttp: 0 };
  #abort = new AbortController();
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(
    options: RelayFeedOptions,
    dependencies: { readonly clock: Clock; readonly http: HttpSource; readonly target: FeedTarget },
  ) {
    this.#options = options;
    this.#clock = dependencies.clock;
    this.#http = dependencies.http;
    this.#target = dependencies.target;
  }

  start(): void {
    this.#abort = new AbortController();
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#abort.abort(new Error('stopped'));
    await this.#running;
    await this.#keepOnly([]);
  }

  setRelays(relays: readonly TopUpRelay[]): void {
    const now = this.#clock.now();
    this.#sources = relays.map((relay) => {
      const url = relayUrl(relay, this.#options.swarmId, 'feed');
      const known = this.#sources.find((source) => source.url.href === url.href);
      return known ?? { url, log: '', next: 0, toldAgain: '', newsAtMs: now, dueAtMs: now };
    });
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(POLL_MS, () => {
      this.#running = this.#pollIfQuiet().finally(() => {
        if (!this.#abort.signal.aborted) this.#schedule();
      });
    });
  }

  async #pollIfQuiet(): Promise<void> {
    const { bitTorrent, relayHttp } = this.#target.receivedBytes();
    const isQuiet = bitTorrent <= this.#movedBytes.bitTorrent;
    // What is coming to relays, and from them to here, is about to be named.
    if (!isQuiet || relayHttp !== this.#movedBytes.relayHttp) this.#hurry();
    this.#movedBytes = { bitTorrent, relayHttp };
    const isNeeded = isQuiet && this.#target.hasUnnamedPieces();
    await this.#keepOnly(isNeeded ? this.#sources : []);
    const source = isNeeded ? this.#nextDue() : undefined;
    if (source !== undefined) await this.#poll(source);
  }

  #hurry(): void {
    const now = this.#clock.now();
    for (const source of this.#sources) Object.assign(source, { newsAtMs: now, dueAtMs: now });
  }

  /** In turns. */
  #nextDue(): Source | undefined {
    const now = this.#clock.now();
    for (let count = this.#sources.length; count > 0; count -= 1) {
      this.#turn += 1;
      const source = this.#sources[this.#turn % this.#sources.length];
      if (source !== undefined && source.dueAtMs <= now) return source;
    }
    return undefined;
  }

  /** Never rejects: another relay, or this one later, is asked next. */
  async #poll(source: Source): Promise<void> {
    const connection = this.#kept.get(source) ?? this.#http.connection(source.url);
    this.#kept.set(source, connection);
    const timeout = new AbortController();
    const timer = this.#clock.setTimer(REQUEST_TIMEOUT_MS, () => {
      timeout.abort(new Error('the relay is slow'));
    });
    const signal = AbortSignal.any([this.#abort.signal, timeout.signal]);
    const batches = await this.#read(source, connection, signal).catch(() => []);
    timer.cancel();
    const areRight = this.#accept(batches);
    // What was not right is lacking: all of it again, once. What stays wrong must not hide the rest.
    if (!areRight && source.toldAgain !== source.log) {
      Object.assign(source, { log: '', next: 0, toldAgain: source.log });
    }
    const now = this.#clock.now();
    if (batches.length > 0 && areRight) source.newsAtMs = now;
    const pauseMs = Math.min(MAX_PAUSE_MS, (now - source.newsAtMs) * PAUSE_SHARE);
    source.dueAtMs = now + pauseMs;
    if (pauseMs <= MAX_KEPT_MS) return;
    await this.#keepOnly(this.#sources.filter((each) => each !== source));
  }

  /** Answers whether all of them are what they should be. */
  #accept(batches: readonly Uint8Array[]): boolean {
    let areRight = true;
    try {
      for (const batch of batches) if (this.#target.acceptBatch(batch)) areRight = false;
    } catch (error) {
      this.#target.broke(error);
      areRight = false;
    }
    return areRight;
  }

  async #keepOnly(sources: readonly Source[]): Promise<void> {
    for (const [source, connection] of this.#kept) {
      if (sources.includes(source)) continue;
      this.#kept.delete(source);
      await connection.close();
    }
  }

  async #read(
    source: Source,
    connection: HttpConnection,
    signal: AbortSignal,
  ): Promise<Uint8Array[]> {
    const url = new URL(source.url);
    url.searchParams.set('log', source.log);
    url.searchParams.set('from', String(source.next));
    const chunks: Buffer[] = [];
    let bytes = 0;
    const { head } = await connection.request(
      {
        url,
        headers: { authorization: `Bearer ${this.#options.relayToken}` },
        onHead: ({ status }) => {
          if (status !== 200) throw new Error(`the relay answers ${status}`);
        },
        onChunk: (chunk) => {
          bytes += chunk.byteLength;
          if (bytes > 2 * MAX_FEED_ANSWER_BYTES) throw new Error('the feed is too long');
          chunks.push(Buffer.from(chunk));
        },
      },
      signal,
    );
    const batches = decodeBatchList(Buffer.concat(chunks));
    if (batches === undefined) throw new Error('the feed is malformed');
    source.log = (head.headers[FEED_LOG_HEADER] ?? '').slice(0, 64);
    const next = Number(head.headers[FEED_NEXT_HEADER] ?? 0);
    source.next = Number.isSafeInteger(next) && next >= 0 ? next : 0;
    return batches;
  }
}
