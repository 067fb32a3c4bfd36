import type { Clock, Timer } from '../ports/clock.ts';
import { type HttpConnection, type HttpSource, HttpSourceError } from '../ports/httpSource.ts';
import type { PieceAssembly } from './pullPlan.ts';
import { relayUrl, type TopUpRelay } from './relayUrl.ts';

/** What is needed of a transfer to bring it pieces from relays. */
export interface RelayDownloadsTarget {
  /**
   * Pieces that top-up may bring, as a BitTorrent bitfield (high bit first): not held, not being
   * verified, and not coming over BitTorrent, unless past their deadline there, or slowly while
   * nothing else is left.
   */
  acceptablePieces(): Uint8Array;
  pieceSizeBytes(piece: number): number;
  assemble(piece: number, source: 'relayHttp'): PieceAssembly | undefined;
  /** Whether the cap of the node's download lets so many bytes be asked for now; they then count. */
  admitDownload(bytes: number): boolean;
  /** They were asked for and will not come. */
  refundDownload(bytes: number): void;
}

export interface RelayDownloadsOptions {
  /** Hex. */
  readonly swarmId: string;
  /** Bearer token for this swarm at relays; never logged. */
  readonly relayToken: string;
}

export interface RelayDownloadsDependencies {
  readonly http: HttpSource;
  readonly clock: Clock;
  readonly target: RelayDownloadsTarget;
  /** One has ended: there may be more to ask for. */
  readonly onEnd: () => void;
}

const CONNECTIONS_PER_RELAY = 2;
/**
 * A fetch that brings nothing for so long is left, and its relay avoided for as long, each further time
 * for twice as long: where the node's own link is that slow, what it begins in vain costs it pieces
 * that peers were bringing.
 */
const STALLED_MS = 2000;
const MAX_AVOIDED_MS = 32_000;
/** A relay that sent wrong bytes is asked again after this, for another may have what it lacks. */
const WRONG_MS = 10_000;
/**
 * A relay that had nothing to give, or does not know the swarm yet, is asked again after this; when
 * it had nothing so often, each further time after twice as long, up to what a stalled one is avoided
 * for.
 */
const NOTHING_MS = 50;
const PATIENT_AFTER = 5;
/** Until its first bytes a fetch is expected to bring all of its piece. */
const UNKNOWN_RATE_MS = 300;
const PIECE_HEADER = 'sluice-piece';

interface Download {
  readonly relay: Relay;
  readonly abort: AbortController;
  readonly startedAtMs: number;
  lastByteAtMs: number;
  sizeBytes: number;
  receivedBytes: number;
}

interface Relay {
  readonly url: URL;
  readonly free: HttpConnection[];
  readonly downloads: Set<Download>;
  avoidUntilMs: number;
  /** How often in a row it had nothing, and how often it failed. */
  nothings: number;
  failures: number;
}

/**
 * Pieces on their way from relays over HTTP. Which piece is the relay's choice among those that
 * this node accepts: it sends what it has sent least.
 */
export class RelayDownloads {
  readonly #options: RelayDownloadsOptions;
  readonly #dependencies: RelayDownloadsDependencies;
  readonly #relays = new Map<string, Relay>();
  readonly #closings = new Set<Promise<unknown>>();
  readonly #timers = new Map<Relay, Timer>();
  #stopped = false;

  constructor(options: RelayDownloadsOptions, dependencies: RelayDownloadsDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  /** Resolves when nothing is under way and every connection is closed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const relay of this.#relays.values()) this.#drop(relay);
    this.#relays.clear();
    while (this.#closings.size > 0) await Promise.all(this.#closings);
  }

  /** The complete list. Downloads from relays that left it are given up. */
  setRelays(relays: readonly TopUpRelay[]): void {
    const named = new Map(
      relays.map((relay) => [relay.id, relayUrl(relay, this.#options.swarmId, 'top-up')]),
    );
    for (const [id, relay] of this.#relays) {
      if (named.get(id)?.href === relay.url.href) continue;
      this.#drop(relay);
      this.#relays.delete(id);
    }
    for (const [id, url] of named) {
      if (this.#relays.has(id)) continue;
      this.#relays.set(id, {
        url,
        free: [],
        downloads: new Set(),
        avoidUntilMs: 0,
        nothings: 0,
        failures: 0,
      });
    }
  }

  /** Whether there is a relay to ask, or one that is bringing something. */
  get isUsable(): boolean {
    const nowMs = this.#dependencies.clock.now();
    for (const relay of this.#relays.values()) {
      if (relay.avoidUntilMs <= nowMs || relay.downloads.size > 0) return true;
    }
    return false;
  }

  /** Starts what brings so many bytes, as far as relays, pieces and the node's cap allow. */
  fetch(wantBytes: number): void {
    const nowMs = this.#dependencies.clock.now();
    let want = wantBytes;
    while (want > 0 && !this.#stopped) {
      const relay = this.#leastBusyRelay(nowMs);
      const acceptable = this.#dependencies.target.acceptablePieces();
      const piece = firstSet(acceptable);
      if (relay === undefined || piece === undefined) return;
      // The relay chooses; all pieces but a last one are as large as this.
      const sizeBytes = this.#dependencies.target.pieceSizeBytes(piece);
      if (!this.#dependencies.target.admitDownload(sizeBytes)) return;
      want -= sizeBytes;
      this.#track(this.#download(relay, acceptable, sizeBytes, nowMs));
    }
  }

  /** Gives up what has brought nothing for too long. */
  leaveStalled(): void {
    const nowMs = this.#dependencies.clock.now();
    for (const { downloads } of this.#relays.values()) {
      for (const download of downloads) {
        if (nowMs - download.lastByteAtMs > STALLED_MS) download.abort.abort(new Error('stalled'));
      }
    }
  }

  /** What is under way and likely to be here within a second. */
  expectedBytes(): number {
    const nowMs = this.#dependencies.clock.now();
    let expected = 0;
    for (const { downloads } of this.#relays.values()) {
      for (const { startedAtMs, sizeBytes, receivedBytes } of downloads) {
        const ageMs = nowMs - startedAtMs;
        const left = sizeBytes - receivedBytes;
        expected += ageMs < UNKNOWN_RATE_MS ? left : Math.min(left, (receivedBytes / ageMs) * 1000);
      }
    }
    return expected;
  }

  /** One piece from one relay; never rejects. */
  async #download(
    relay: Relay,
    acceptable: Uint8Array,
    sizeBytes: number,
    startedAtMs: number,
  ): Promise<void> {
    const { http, clock, target } = this.#dependencies;
    const idle = relay.free.pop();
    const connection = idle ?? http.connection(relay.url);
    const download: Download = {
      relay,
      abort: new AbortController(),
      startedAtMs,
      lastByteAtMs: startedAtMs,
      sizeBytes,
      receivedBytes: 0,
    };
    relay.downloads.add(download);
    let assembly: PieceAssembly | undefined;
    let nothing = false;
    try {
      await connection.request(
        {
          method: 'POST',
          body: acceptable,
          headers: {
            authorization: `Bearer ${this.#options.relayToken}`,
            'content-type': 'application/octet-stream',
            'content-length': String(acceptable.byteLength),
          },
          onHead: ({ status, headers }) => {
            if (status === 204 || status === 404) {
              nothing = true;
              return;
            }
            const piece = Number(headers[PIECE_HEADER] ?? 'none');
            if (status !== 200 || !isSet(acceptable, piece)) {
              throw new TopUpRefused(`the relay answers ${status}`);
            }
            download.sizeBytes = target.pieceSizeBytes(piece);
            if (headers['content-length'] !== String(download.sizeBytes)) {
              throw new TopUpRefused(
                `piece ${piece} does not have ${headers['content-length']} bytes`,
              );
            }
            assembly = target.assemble(piece, 'relayHttp');
            if (assembly === undefined) throw new PieceTaken();
          },
          onChunk: (chunk) => {
            if (assembly === undefined) return;
            download.lastByteAtMs = clock.now();
            assembly.write(download.receivedBytes, chunk);
            download.receivedBytes += chunk.byteLength;
          },
        },
        download.abort.signal,
      );
      // Not waited for: it may be long until the feed names the piece.
      if (assembly !== undefined) {
        relay.failures = 0;
        this.#finish(relay, assembly);
      }
      if (nothing) this.#avoidForNow(relay);
      else relay.nothings = 0;
    } catch (error) {
      assembly?.abort();
      if (!isHarmless(error, idle !== undefined)) this.#failed(relay);
    } finally {
      relay.downloads.delete(download);
      target.refundDownload(Math.max(0, sizeBytes - download.receivedBytes));
      if (this.#stopped || this.#relays.get(this.#idOf(relay)) !== relay) {
        this.#track(connection.close());
      } else {
        relay.free.push(connection);
        this.#dependencies.onEnd();
      }
    }
  }

  #avoidForNow(relay: Relay): void {
    const { clock, onEnd } = this.#dependencies;
    const doubled = Math.max(0, relay.nothings + 1 - PATIENT_AFTER);
    const waitMs = Math.min(STALLED_MS, NOTHING_MS * 2 ** doubled);
    relay.nothings += 1;
    this.#avoid(relay, waitMs);
    this.#timers.get(relay)?.cancel();
    this.#timers.set(
      relay,
      clock.setTimer(waitMs, () => {
        this.#timers.delete(relay);
        onEnd();
      }),
    );
  }

  /** The transfer judges and reports a bad piece; here its relay is left alone for a while. */
  async #finish(relay: Relay, assembly: PieceAssembly): Promise<void> {
    try {
      if ((await assembly.finish()) !== 'verified') this.#avoid(relay, WRONG_MS);
    } catch {
      // A failing store fails the transfer, which says so itself.
    }
  }

  #failed(relay: Relay): void {
    // What fails together is one failure.
    if (relay.avoidUntilMs > this.#dependencies.clock.now()) return;
    this.#avoid(relay, Math.min(MAX_AVOIDED_MS, STALLED_MS * 2 ** relay.failures));
    relay.failures += 1;
  }

  #avoid(relay: Relay, ms: number): void {
    relay.avoidUntilMs = Math.max(relay.avoidUntilMs, this.#dependencies.clock.now() + ms);
  }

  #idOf(relay: Relay): string {
    for (const [id, known] of this.#relays) if (known === relay) return id;
    return '';
  }

  #leastBusyRelay(nowMs: number): Relay | undefined {
    let best: Relay | undefined;
    for (const relay of this.#relays.values()) {
      if (relay.avoidUntilMs > nowMs || relay.downloads.size >= CONNECTIONS_PER_RELAY) continue;
      if (best === undefined || relay.downloads.size < best.downloads.size) best = relay;
    }
    return best;
  }

  #drop(relay: Relay): void {
    this.#timers.get(relay)?.cancel();
    this.#timers.delete(relay);
    for (const { abort } of relay.downloads)
      abort.abort(new Error('the relay is not used any more'));
    for (const connection of relay.free.splice(0)) this.#track(connection.close());
  }

  #track(work: Promise<unknown>): void {
    const tracked = work.finally(() => this.#closings.delete(tracked));
    this.#closings.add(tracked);
  }
}

/** Somebody else brings the piece by now, or the relay closed a connection that was long idle. */
function isHarmless(error: unknown, wasIdle: boolean): boolean {
  if (!(error instanceof HttpSourceError)) return false;
  if (error.cause instanceof PieceTaken) return true;
  return wasIdle && error.code === 'ConnectionLost' && error.wireBytes === 0;
}

class TopUpRefused extends Error {}
class PieceTaken extends Error {}

function isSet(bitfield: Uint8Array, piece: number): boolean {
  return (
    Number.isInteger(piece) &&
    piece >= 0 &&
    ((bitfield[piece >> 3] ?? 0) & (128 >> (piece & 7))) !== 0
  );
}

function firstSet(bitfield: Uint8Array): number | undefined {
  const byte = bitfield.findIndex((bits) => bits !== 0);
  if (byte < 0) return undefined;
  return byte * 8 + Math.clz32(bitfield[byte] as number) - 24;
}
