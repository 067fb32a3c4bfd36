import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import {
  encodeBatchList,
  FEED_LOG_HEADER,
  FEED_NEXT_HEADER,
  MAX_FEED_ANSWER_BYTES,
} from '../../feed/batchList.ts';
import { MAX_TRANSFER_PIECES } from '../../pieces/layout.ts';
import { InboundPlaces } from '../../swarm/inboundPlaces.ts';
import { chooseTopUp } from '../../topup/chooseTopUp.ts';
import { readBody, refuse, startAnswer, writeHead } from './httpAnswers.ts';

/** What a relay serves of one swarm; a Transfer with its layout is one. */
export interface ServedSwarm {
  readonly pieceCount: number;
  readonly files: readonly { readonly path: string; readonly sizeBytes: number }[];
  pieceSizeBytes(piece: number): number;
  locate(piece: number): { readonly fileIndex: number; readonly offset: number };
  holds(piece: number): boolean;
  /** Whether its bytes are coming in now, so that follow() gives them as they come. */
  assembles(piece: number): boolean;
  /** Resolves when there may be more to give; rejects when it is aborted. */
  arrival(signal: AbortSignal): Promise<void>;
  read(piece: number, offset: number, length: number): Promise<Uint8Array>;
  /** From `offset` to the end of the piece; throws when the piece is given up. */
  follow(piece: number, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  readonly feed: { readonly length: number; batches(fromIndex?: number): readonly Uint8Array[] };
  /** Of the finished set, for stock clients; undefined: not yet. */
  torrent(): Uint8Array | undefined;
  /** Of its upload, bytes per second; undefined: it has none of its own. */
  uploadLimit(): number | undefined;
  /** Resolves when so many bytes may be sent under that limit, or when it is aborted. */
  admit(bytes: number, signal: AbortSignal): Promise<void>;
  /** Payload that was sent. */
  uploaded(bytes: number): void;
}

export interface RelayServerOptions {
  /** 0 takes any free port. */
  readonly port: number;
  readonly host?: string;
  /** Of clients that have shown a token. */
  readonly maxConnections: number;
}

export interface RelayServerDependencies {
  /** Resolves when so many bytes may be sent by the process: the same bucket as BitTorrent's. */
  readonly admit: (bytes: number, signal: AbortSignal) => Promise<void>;
}

/** Read and sent at a time. */
const CHUNK_BYTES = 262_144;
/** Of a limit BitTorrent may take as much: both send a block of this size when it is their turn. */
const LIMITED_CHUNK_BYTES = 131_072;
/** Under a low limit less, so that it is somebody's turn so often in a second. */
const TURNS_A_SECOND = 8;
/** A node that would take anything waits so long for the next piece, instead of asking again. */
const NOTHING_PATIENCE_MS = 500;
/** A bit for each piece. */
const MAX_TOP_UP_BODY_BYTES = MAX_TRANSFER_PIECES / 8;
/** A client that takes nothing for so long is dropped. */
const STALLED_MS = 15_000;
/** Nodes that are short ask again at once; to keep what none asks over would take others' places. */
const KEEP_ALIVE_MS = 5_000;
/** After a relay has started all its nodes come at once, and it may not know their swarms yet. */
const MAX_UNPROVEN = 4_096;
/** The set is not finished, or is being hashed: a gigabyte takes a second or two. */
const TORRENT_RETRY_SECONDS = 2;
const ROUTE =
  /^\/v1\/swarms\/([0-9a-f]{40})\/(pieces|files|top-up|feed|torrent)(?:\/([^?]{1,4096}))?$/;

interface Served {
  readonly swarm: ServedSwarm;
  readonly tokenDigest: Buffer;
  readonly sent: Uint32Array;
  /** Top-ups that are being answered. */
  toppingUp: number;
  /** Names this run of the feed's log. */
  readonly log: string;
}

/** Of a connection. */
interface Client {
  readonly remoteHost: string;
  /** It has shown a token. */
  isOpen: boolean;
}

/** Serves pieces, files, top-up and feed of many swarms while they are pulled, and then torrents. */
export class RelayServer {
  readonly #options: RelayServerOptions;
  readonly #dependencies: RelayServerDependencies;
  readonly #swarms = new Map<string, Served>();
  readonly #server: Server;
  readonly #places: InboundPlaces;
  readonly #clients = new WeakMap<Socket, Client>();

  constructor(options: RelayServerOptions, dependencies: RelayServerDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    const timing = {
      maxHeaderSize: 8192,
      headersTimeout: 5000,
      requestTimeout: 10_000,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: 1000,
    };
    this.#server = createServer(timing, (request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
    const limits = { maxOpen: options.maxConnections, maxUnproven: MAX_UNPROVEN };
    this.#places = new InboundPlaces(limits);
    this.#server.on('connection', (socket) => this.#meet(socket));
    this.#server.setTimeout(STALLED_MS);
  }

  /** Resolves with the port. */
  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port, this.#options.host, () => {
        this.#server.removeListener('error', reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** `swarmId` in hex. Replaces what was served under it. */
  addSwarm(swarmId: string, token: string, swarm: ServedSwarm): void {
    this.#swarms.set(swarmId, {
      swarm,
      tokenDigest: digestOf(token),
      sent: new Uint32Array(swarm.pieceCount),
      toppingUp: 0,
      log: randomBytes(12).toString('hex'),
    });
  }

  removeSwarm(swarmId: string): void {
    this.#swarms.delete(swarmId);
  }

  #meet(socket: Socket): void {
    const client: Client = { remoteHost: socket.remoteAddress ?? '', isOpen: false };
    if (!this.#places.enter(client)) {
      socket.destroy();
      return;
    }
    this.#clients.set(socket, client);
    socket.once('close', () => this.#places.leave(client));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://relay');
    const [, swarmId = '', resource = '', rest] = ROUTE.exec(url.pathname) ?? [];
    const served = this.#swarms.get(swarmId);
    const method = resource === 'top-up' ? 'POST' : 'GET';
    if (resource === '') return refuse(request, response, 404, 'no such resource');
    if (request.method !== method)
      return refuse(request, response, 405, `only ${method} is served here`);
    if (served === undefined) return refuse(request, response, 404, 'no such swarm at this relay');
    if (!isAuthorized(request, served)) return refuse(request, response, 401, 'wrong token');
    const client = this.#clients.get(request.socket);
    if (client !== undefined) client.isOpen = true;

    const gone = new AbortController();
    response.once('close', () => gone.abort(new Error('the client is gone')));
    if (resource === 'feed') return this.#sendFeed(served, url, response);
    if (resource === 'torrent') return sendTorrent(served.swarm, request, response);
    if (resource === 'top-up') return this.#topUp(served, request, response, gone.signal);
    if (resource === 'pieces') return this.#sendPiece(served, rest, request, response, gone.signal);
    return this.#sendFile(served, rest, request, response, gone.signal);
  }

  #sendFeed({ swarm, log }: Served, url: URL, response: ServerResponse): void {
    const asked = Number(url.searchParams.get('from') ?? 0);
    const sameLog = url.searchParams.get('log') === log;
    const from = sameLog && Number.isSafeInteger(asked) && asked >= 0 ? asked : 0;
    const batches: Uint8Array[] = [];
    let bytes = 0;
    for (const batch of swarm.feed.batches(from)) {
      bytes += batch.byteLength + 4;
      if (bytes > MAX_FEED_ANSWER_BYTES) break;
      batches.push(batch);
    }
    response.setHeader(FEED_LOG_HEADER, log);
    response.setHeader(FEED_NEXT_HEADER, from + batches.length);
    response.setHeader('content-type', 'application/octet-stream');
    response.end(encodeBatchList(batches));
  }

  async #topUp(
    served: Served,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const acceptable = await readBody(request, MAX_TOP_UP_BODY_BYTES);
    if (acceptable === undefined) return refuse(request, response, 413, 'the body is too long');
    const { swarm, sent } = served;
    const choose = () =>
      chooseTopUp(acceptable, {
        pieceCount: swarm.pieceCount,
        sent,
        holds: (candidate) => swarm.holds(candidate),
        assembles: (candidate) => swarm.assembles(candidate),
        random: Math.random,
      });
    const piece = choose() ?? (await this.#nextChoice(swarm, choose, signal));
    if (piece === undefined || served.toppingUp >= mostTopUps(swarm.uploadLimit())) {
      response.statusCode = 204;
      response.end();
      return;
    }
    sent[piece] = (sent[piece] ?? 0) + 1;
    const sizeBytes = swarm.pieceSizeBytes(piece);
    writeHead(response, 200, sizeBytes, { 'sluice-piece': String(piece) });
    served.toppingUp += 1;
    try {
      await this.#stream(swarm, piece, 0, sizeBytes, response, signal);
    } finally {
      served.toppingUp -= 1;
    }
    response.end();
  }

  /** Undefined: nothing came in time. */
  async #nextChoice(
    swarm: ServedSwarm,
    choose: () => number | undefined,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const patience = AbortSignal.timeout(NOTHING_PATIENCE_MS);
    const either = AbortSignal.any([signal, patience]);
    try {
      for (;;) {
        await swarm.arrival(either);
        const piece = choose();
        if (piece !== undefined) return piece;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!patience.aborted) throw error;
      return undefined;
    }
  }

  async #sendPiece(
    { swarm }: Served,
    rest: string | undefined,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const piece = /^\d{1,6}$/.test(rest ?? '') ? Number(rest) : swarm.pieceCount;
    if (piece >= swarm.pieceCount || !(swarm.holds(piece) || swarm.assembles(piece))) {
      return refuse(request, response, 404, 'this relay does not have the piece');
    }
    const range = startAnswer(request, response, swarm.pieceSizeBytes(piece));
    if (range === undefined) return;
    await this.#stream(swarm, piece, range.start, range.end, response, signal);
    response.end();
  }

  async #sendFile(
    { swarm }: Served,
    rest: string | undefined,
    request: IncomingMessage,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const path = decoded(rest ?? '');
    const fileIndex = swarm.files.findIndex((file) => file.path === path);
    const file = swarm.files[fileIndex];
    if (file === undefined) return refuse(request, response, 404, 'no such file in this swarm');
    const range = startAnswer(request, response, file.sizeBytes);
    if (range === undefined) return;
    for (let piece = 0; piece < swarm.pieceCount; piece += 1) {
      const at = swarm.locate(piece);
      const pieceEnd = at.offset + swarm.pieceSizeBytes(piece);
      if (at.fileIndex !== fileIndex || pieceEnd <= range.start || at.offset >= range.end) continue;
      const from = Math.max(0, range.start - at.offset);
      const to = Math.min(pieceEnd, range.end) - at.offset;
      await this.#arrival(swarm, piece, signal);
      await this.#stream(swarm, piece, from, to, response, signal);
    }
    response.end();
  }

  /** A file is served in order: the piece may not have begun to come yet. */
  async #arrival(swarm: ServedSwarm, piece: number, signal: AbortSignal): Promise<void> {
    while (!swarm.holds(piece) && !swarm.assembles(piece)) await swarm.arrival(signal);
  }

  /** Bytes [start, end) of a piece, as they come when it is not complete. */
  async #stream(
    swarm: ServedSwarm,
    piece: number,
    start: number,
    end: number,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    let at = start;
    if (!swarm.holds(piece)) {
      for await (const chunk of swarm.follow(piece, start, signal)) {
        const wanted = chunk.subarray(0, end - at);
        await this.#send(swarm, wanted, response, signal);
        at += wanted.byteLength;
        if (at >= end) break;
      }
    }
    while (at < end) {
      const chunk = await swarm.read(piece, at, Math.min(CHUNK_BYTES, end - at));
      if (chunk.byteLength === 0) throw new Error(`piece ${piece} ends at ${at}`);
      await this.#send(swarm, chunk, response, signal);
      at += chunk.byteLength;
    }
  }

  async #send(
    swarm: ServedSwarm,
    bytes: Uint8Array,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const limit = swarm.uploadLimit();
    const mostBytes = limit === undefined ? bytes.byteLength : limitedChunkBytes(limit);
    for (let at = 0; at < bytes.byteLength; at += mostBytes) {
      const chunk = bytes.subarray(at, at + mostBytes);
      await swarm.admit(chunk.byteLength, signal);
      // Last: of what all share nothing is taken by who waits for something else.
      await this.#dependencies.admit(chunk.byteLength, signal);
      signal.throwIfAborted();
      await this.#write(swarm, chunk, response, signal);
    }
  }

  /** Resolves when the network takes more. */
  async #write(
    swarm: ServedSwarm,
    chunk: Uint8Array,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<void> {
    const taken = response.write(chunk);
    swarm.uploaded(chunk.byteLength);
    if (taken) return;
    await new Promise<void>((resolve) => {
      const wake = () => {
        response.removeListener('drain', wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      response.once('drain', wake);
      signal.addEventListener('abort', wake, { once: true });
    });
    signal.throwIfAborted();
  }
}

function limitedChunkBytes(limit: number): number {
  return Math.max(1, Math.min(LIMITED_CHUNK_BYTES, Math.floor(limit / TURNS_A_SECOND)));
}

/**
 * So many that each has its turn within a second, though BitTorrent takes half of them: a node that
 * gets nothing for two seconds leaves its relay, and what came of the piece is lost.
 */
function mostTopUps(limit: number | undefined): number {
  if (limit === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(1, Math.floor(limit / 2 / limitedChunkBytes(limit)));
}

function sendTorrent(swarm: ServedSwarm, request: IncomingMessage, response: ServerResponse): void {
  const torrent = swarm.torrent();
  if (torrent === undefined) {
    response.setHeader('retry-after', TORRENT_RETRY_SECONDS);
    refuse(request, response, 503, 'there is no torrent yet: ask again');
    return;
  }
  response.setHeader('content-type', 'application/x-bittorrent');
  response.end(torrent);
}

/** Digests have one length, so that the comparison tells nothing, not even the token's length. */
function isAuthorized(request: IncomingMessage, served: Served): boolean {
  const [scheme = '', token = ''] = (request.headers.authorization ?? '').split(' ');
  const same = timingSafeEqual(digestOf(token), served.tokenDigest);
  return same && scheme.toLowerCase() === 'bearer';
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}
