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
  /** A signed batch of the feed; verified there, and passed on to peers. */
  acceptBatch(batch: Uint8Array): void;
  /** Payload received so far, verified or not. */
  receivedBytes(): { readonly bitTorrent: number; readonly relayHttp: number };
}

export interface RelayFeedOptions {
  /** Hex. */
  readonly swarmId: string;
  readonly relayToken: string;
}

const POLL_MS = 300;
const REQUEST_TIMEOUT_MS = 3000;
interface Source {
  readonly url: URL;
  log: string;
  next: number;
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
  #sources: (Source & { id: string })[] = [];
  #turn = 0;
  #movedBytes = 0;
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
  }

  setRelays(relays: readonly TopUpRelay[]): void {
    this.#sources = relays.map((relay) => {
      const url = relayUrl(relay, this.#options.swarmId, 'feed');
      const known = this.#sources.find((source) => source.url.href === url.href);
      return known ?? { id: relay.id, url, log: '', next: 0 };
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
    const { bitTorrent } = this.#target.receivedBytes();
    const quiet = bitTorrent === this.#movedBytes;
    this.#movedBytes = bitTorrent;
    if (!quiet || !this.#target.hasUnnamedPieces()) return;
    this.#turn += 1;
    const source = this.#sources[this.#turn % Math.max(1, this.#sources.length)];
    if (source !== undefined) await this.#poll(source);
  }

  /** Never rejects: another relay, or this one later, is asked next. */
  async #poll(source: Source): Promise<void> {
    const url = new URL(source.url);
    url.searchParams.set('log', source.log);
    url.searchParams.set('from', String(source.next));
    const connection = this.#http.connection(url);
    const timeout = new AbortController();
    const timer = this.#clock.setTimer(REQUEST_TIMEOUT_MS, () => {
      timeout.abort(new Error('the relay is slow'));
    });
    try {
      await this.#read(source, connection, AbortSignal.any([this.#abort.signal, timeout.signal]));
    } catch {
      source.log = '';
      source.next = 0;
    } finally {
      timer.cancel();
      await connection.close();
    }
  }

  async #read(source: Source, connection: HttpConnection, signal: AbortSignal): Promise<void> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const { head } = await connection.request(
      {
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
    for (const batch of batches) this.#target.acceptBatch(batch);
    source.log = (head.headers[FEED_LOG_HEADER] ?? '').slice(0, 64);
    const next = Number(head.headers[FEED_NEXT_HEADER] ?? 0);
    source.next = Number.isSafeInteger(next) && next >= 0 ? next : 0;
  }
}
