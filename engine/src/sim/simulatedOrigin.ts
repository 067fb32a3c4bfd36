import type { Extent } from '../feed/certificate.ts';
import type { PullGrant } from '../session/puller.ts';
import type { TrueFile } from './memoryStore.ts';
import type { HttpAnswer, HttpAsked } from './simulatedHttp.ts';

export const ETAG = '"one"';
const CHUNK_BYTES = 65_536;

/** An origin that honours ranges. */
export function serveFile(file: TrueFile): (asked: HttpAsked) => HttpAnswer {
  return ({ range }) => {
    const { start, end } = range ?? { start: 0, end: file.bytes.byteLength };
    const headers = {
      etag: ETAG,
      'content-length': String(end - start),
      'content-range': `bytes ${start}-${end - 1}/${file.bytes.byteLength}`,
    };
    return { status: 206, headers, body: inChunks(file.bytes.subarray(start, end)) };
  };
}

export function* inChunks(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
    yield bytes.subarray(at, at + CHUNK_BYTES);
  }
}

export interface LeaseTerms {
  /** Of the origin, all holders together. */
  readonly rateBytesPerSecond: number;
  readonly pieceLengthBytes: number;
  readonly pieceCount: number;
}

const EXTENT_SECONDS = 1;
const TTL_MS = 600_000;

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
      connections: 2,
      maxBytes: Number.MAX_SAFE_INTEGER,
      ttlMs: TTL_MS,
    };
  }

  /** The holder is gone; `isSafe`: others have it. */
  release(holder: string, isSafe: (piece: number) => boolean): void {
    for (const [piece, each] of this.#pieces.entries()) {
      if (each === holder && !isSafe(piece)) this.#pieces[piece] = undefined;
    }
  }
}
