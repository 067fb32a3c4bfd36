import type { Extent } from '../feed/certificate.ts';
import type { PullGrant } from '../session/puller.ts';
import type { HttpAnswer, HttpServer } from './simulatedHttp.ts';
import type { TrueFile } from './trueFile.ts';

export const ETAG = '"one"';
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
  | { readonly kind: 'short'; readonly missingBytes: number };

/** An origin that honours ranges, as long as its conduct is good. */
export function serveFile(file: TrueFile, conductNow: () => OriginConduct): HttpServer {
  const totalBytes = file.bytes.byteLength;
  return ({ range }) => {
    const conduct = conductNow();
    const { start, end } = range ?? { start: 0, end: totalBytes };
    const body = file.bytes.subarray(start, end);
    const headers = (shift = 0, etag = ETAG) => ({
      etag,
      'content-length': String(end - start),
      'content-range': `bytes ${start + shift}-${end - 1 + shift}/${totalBytes}`,
    });
    const answer = (bytes: Uint8Array): HttpAnswer => ({
      status: 206,
      headers: headers(),
      body: inChunks(bytes),
    });
    switch (conduct.kind) {
      case 'good':
        return answer(body);
      case 'silent':
        return undefined;
      case 'status':
        return { status: conduct.status, headers: { 'content-length': '0' }, body: [] };
      case 'changed':
        return { status: 412, headers: { 'content-length': '0' }, body: [] };
      case 'liesAboutRange':
        return { ...answer(body), headers: headers(1) };
      case 'stalls':
        return { ...answer(body), body: stalling(body.subarray(0, conduct.afterBytes)) };
      case 'short':
        return answer(body.subarray(0, Math.max(0, body.byteLength - conduct.missingBytes)));
    }
  };
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

  constructor(terms: LeaseTerms) {
    this.#terms = terms;
    this.#pieces = new Array(terms.pieceCount).fill(undefined);
  }

  /** How many of those who want to may pull at once. */
  holdersOf(wanting: number): number {
    return Math.min(
      wanting,
      Math.max(1, Math.floor(this.#terms.connections / CONNECTIONS_PER_HOLDER)),
    );
  }

  /** Undefined: everything is somebody's. */
  grant(holder: string, holders: number): PullGrant | undefined {
    const { rateBytesPerSecond, pieceLengthBytes, pieceCount } = this.#terms;
    const rate = rateBytesPerSecond / holders;
    const free = this.#pieces.filter((each) => each === undefined).length;
    const atEnd = Math.max(1, Math.ceil(free / (2 * holders)));
    const count = Math.min(
      atEnd,
      Math.max(1, Math.round((rate * EXTENT_SECONDS) / pieceLengthBytes)),
    );
    const extents: Extent[] = [];
    for (let piece = 0, left = count; piece < pieceCount && left > 0; piece += 1) {
      if (this.#pieces[piece] !== undefined) continue;
      this.#pieces[piece] = holder;
      extents.push({ first: piece, count: 1 });
      left -= 1;
    }
    if (extents.length === 0) return undefined;
    return {
      extents,
      rateBytesPerSecond: rate,
      slackBytes: Math.ceil(rate * 0.1),
      connections: CONNECTIONS_PER_HOLDER,
      maxBytes: Number.MAX_SAFE_INTEGER,
      ttlMs: TTL_MS,
    };
  }

  /** The holder will not pull them. */
  giveBack(holder: string, extents: readonly Extent[]): void {
    for (const { first, count } of extents) {
      for (let piece = first; piece < first + count; piece += 1) {
        if (this.#pieces[piece] === holder) this.#pieces[piece] = undefined;
      }
    }
  }

  /** `isSafe`: somebody who lives has it. */
  release(isGone: (holder: string) => boolean, isSafe: (piece: number) => boolean): void {
    for (const [piece, holder] of this.#pieces.entries()) {
      if (holder !== undefined && isGone(holder) && !isSafe(piece)) this.#pieces[piece] = undefined;
    }
  }
}
