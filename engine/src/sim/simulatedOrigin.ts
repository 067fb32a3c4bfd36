import type { Extent } from '../feed/certificate.ts';
import type { PullGrant } from '../session/puller.ts';
import { flipped } from './mutation.ts';
import type { HttpAnswer, HttpServer } from './simulatedHttp.ts';
import type { TrueFile } from './trueFile.ts';

const CHUNK_BYTES = 65_536;

/** How the origin answers now. */
export type OriginConduct =
  | { readonly kind: 'good' }
  /** Not at all. */
  | { readonly kind: 'silent' }
  | { readonly kind: 'status'; readonly status: number }
  /** It has another version by now. */
  | { readonly kind: 'changed' }
  /** It says that it sends another range than it was asked for. */
  | { readonly kind: 'liesAboutRange' }
  /** So much of each body, and nothing after it. */
  | { readonly kind: 'stalls'; readonly afterBytes: number }
  | { readonly kind: 'short'; readonly missingBytes: number }
  /** One bit of each part that it sends to this host is another one. */
  | { readonly kind: 'liesTo'; readonly host: string };

/** What it has now. */
export interface OriginVersion {
  readonly file: TrueFile;
  readonly etag: string;
}

export interface OriginOptions {
  readonly version: () => OriginVersion;
  readonly conduct: () => OriginConduct;
  /** Whether it honours ranges, as long as its conduct is good; else each answer is the whole file. */
  readonly ranges: boolean;
}

export function serveFiles({ version, conduct: conductNow, ranges }: OriginOptions): HttpServer {
  return ({ from, path, range }) => {
    const conduct = conductNow();
    const { file, etag } = version();
    const bytes = file.file(path.slice(1));
    if (bytes === undefined) return withoutBody(404);
    const { start, end } = (ranges ? range : undefined) ?? { start: 0, end: bytes.byteLength };
    const isPart = ranges && range !== undefined;
    const body = bytes.subarray(start, end);
    const said = (shift: number) => `bytes ${start + shift}-${end - 1 + shift}/${bytes.byteLength}`;
    const headers = (shift = 0) => ({
      etag,
      'content-length': String(end - start),
      ...(isPart && { 'content-range': said(shift) }),
    });
    const answer = (part: Uint8Array): HttpAnswer => ({
      status: isPart ? 206 : 200,
      headers: headers(),
      body: inChunks(part),
    });
    switch (conduct.kind) {
      case 'good':
        return answer(body);
      case 'silent':
        return undefined;
      case 'status':
        return withoutBody(conduct.status);
      case 'changed':
        return withoutBody(412);
      case 'liesAboutRange':
        return { ...answer(body), headers: headers(1) };
      case 'stalls':
        return { ...answer(body), body: stalling(body.subarray(0, conduct.afterBytes)) };
      case 'short':
        return answer(body.subarray(0, Math.max(0, body.byteLength - conduct.missingBytes)));
      case 'liesTo':
        return answer(from === conduct.host ? flipped(body) : body);
    }
  };
}

function withoutBody(status: number): HttpAnswer {
  return { status, headers: { 'content-length': '0' }, body: [] };
}

export function* inChunks(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
    yield bytes.subarray(at, at + CHUNK_BYTES);
  }
}

async function* stalling(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield* inChunks(bytes);
  await new Promise<never>(() => {});
}

export interface LeaseTerms {
  /** Of the origin, all holders together. */
  readonly rateBytesPerSecond: number;
  readonly connections: number;
  /** Without them one holder takes all, in one stream. */
  readonly ranges: boolean;
  /** What nodes may take of it to top up, all together. */
  readonly topUpBytes: number;
  readonly pieceLengthBytes: number;
  readonly pieceCount: number;
}

const EXTENT_SECONDS = 1;
const TTL_MS = 600_000;
const CONNECTIONS_PER_HOLDER = 2;

/**
 * Who pulls which pieces, in file order, for about a second at once. It stands for the control
 * server, whose own leases are tested where they live; this one forgets nothing and never fails.
 */
export class SimulatedLeases {
  readonly #terms: LeaseTerms;
  /** Holder, or undefined while nobody has it. */
  readonly #pieces: (string | undefined)[];
  /** Who tops up now. */
  readonly #toppingUp = new Set<string>();
  #topUpLeftBytes: number;

  constructor(terms: LeaseTerms) {
    this.#terms = terms;
    this.#topUpLeftBytes = terms.topUpBytes;
    this.#pieces = new Array(terms.pieceCount).fill(undefined);
  }

  /** How many of those who want to may pull at once. */
  holdersOf(wanting: number): number {
    const { connections, ranges } = this.#terms;
    if (!ranges) return Math.min(wanting, 1);
    return Math.min(wanting, Math.max(1, Math.floor(connections / CONNECTIONS_PER_HOLDER)));
  }

  /** Undefined: everything is somebody's. */
  grant(holder: string, holders: number): PullGrant | undefined {
    const { rateBytesPerSecond, pieceLengthBytes, pieceCount, ranges } = this.#terms;
    const rate = rateBytesPerSecond / holders;
    const free = this.#pieces.filter((each) => each === undefined).length;
    const atEnd = Math.max(1, Math.ceil(free / (2 * holders)));
    const aSecond = Math.max(1, Math.round((rate * EXTENT_SECONDS) / pieceLengthBytes));
    const count = ranges ? Math.min(atEnd, aSecond) : free;
    const extents: Extent[] = [];
    for (let piece = 0, left = count; piece < pieceCount && left > 0; piece += 1) {
      if (this.#pieces[piece] !== undefined) continue;
      this.#pieces[piece] = holder;
      extents.push({ first: piece, count: 1 });
      left -= 1;
    }
    if (extents.length === 0) return undefined;
    return grantOf(extents, rate, CONNECTIONS_PER_HOLDER);
  }

  /**
   * Some of these pieces, about a second of what the node misses, charged at once; undefined: it has
   * a lease already, all connections are taken, or what nodes may take of the origin is used up.
   */
  grantTopUp(
    holder: string,
    pieces: readonly number[],
    wantedRate: number,
    pulling: number,
  ): PullGrant | undefined {
    const { rateBytesPerSecond, pieceLengthBytes, connections, ranges } = this.#terms;
    const taken = pulling * CONNECTIONS_PER_HOLDER + this.#toppingUp.size;
    if (!ranges || this.#toppingUp.has(holder) || taken >= connections) return undefined;
    const rate = Math.min(wantedRate, rateBytesPerSecond);
    const affordable = Math.floor(this.#topUpLeftBytes / pieceLengthBytes);
    const count = Math.min(affordable, Math.ceil((rate * EXTENT_SECONDS) / pieceLengthBytes));
    const extents = pieces.slice(0, count).map((first) => ({ first, count: 1 }));
    if (extents.length === 0) return undefined;
    this.#topUpLeftBytes -= extents.length * pieceLengthBytes;
    this.#toppingUp.add(holder);
    return grantOf(extents, rate, 1);
  }

  /** `unusedPieces`: of what was charged. */
  settleTopUp(holder: string, unusedPieces: number): void {
    this.#toppingUp.delete(holder);
    this.#topUpLeftBytes += unusedPieces * this.#terms.pieceLengthBytes;
  }

  /** The holder will not pull them. */
  giveBack(holder: string, extents: readonly Extent[]): void {
    for (const { first, count } of extents) {
      for (let piece = first; piece < first + count; piece += 1) {
        if (this.#pieces[piece] === holder) this.#pieces[piece] = undefined;
      }
    }
  }

  /** Whoever had them: they may be pulled once more. */
  free(pieces: readonly number[]): void {
    for (const piece of pieces) this.#pieces[piece] = undefined;
  }

  /** `isSafe`: somebody who lives has it. */
  release(isGone: (holder: string) => boolean, isSafe: (piece: number) => boolean): void {
    for (const [piece, holder] of this.#pieces.entries()) {
      if (holder !== undefined && isGone(holder) && !isSafe(piece)) this.#pieces[piece] = undefined;
    }
  }
}

function grantOf(
  extents: readonly Extent[],
  rateBytesPerSecond: number,
  connections: number,
): PullGrant {
  return {
    extents,
    rateBytesPerSecond,
    slackBytes: Math.ceil(rateBytesPerSecond * 0.1),
    connections,
    maxBytes: Number.MAX_SAFE_INTEGER,
    ttlMs: TTL_MS,
  };
}
