import type { Extent } from '../feed/certificate.ts';

/** A piece whose bytes come by HTTP; made by the transfer. */
export interface PieceAssembly {
  readonly piece: number;
  readonly sizeBytes: number;
  /** What is not written yet, in order. */
  missing(): readonly { readonly offset: number; readonly length: number }[];
  /** Copies. */
  write(offset: number, chunk: Uint8Array): void;
  /** Every byte is written: verify and store. */
  finish(): Promise<'verified' | 'mismatch'>;
  /** Gives the piece back unfinished. */
  abort(): void;
}

/** What a puller needs of its transfer. */
export interface PullTarget {
  holds(piece: number): boolean;
  /** Undefined: held, being verified, or taken by somebody else. */
  assemble(piece: number, source: 'origin'): PieceAssembly | undefined;
}

export interface PullLayout {
  pieceSizeBytes(piece: number): number;
  locate(piece: number): FilePosition;
}

interface Gap {
  readonly offset: number;
  readonly length: number;
}

interface OpenPiece {
  readonly assembly: PieceAssembly;
  /** Neither written nor asked for, in order. */
  gaps: Gap[];
  missingBytes: number;
  /** Written by this plan. */
  broughtBytes: number;
  finishing: boolean;
}

export interface FilePosition {
  readonly fileIndex: number;
  readonly offset: number;
}

/** Consecutive bytes of one file, of one piece or several. */
export interface PullRange {
  readonly fileIndex: number;
  /** [start, end) in the file. */
  readonly start: number;
  readonly end: number;
  readonly parts: readonly {
    readonly piece: number;
    readonly offset: number;
    readonly length: number;
  }[];
}

/** Pieces taken by others are looked past, this many at most in one search. */
const LOOK_AHEAD = 64;

/**
 * Which bytes to ask the origin for next, so that all connections fill the lowest unfinished piece
 * together and pieces finish in file order. Knows nothing of time, rates or HTTP.
 */
export class PullPlan {
  readonly #layout: PullLayout;
  readonly #target: PullTarget;
  /** Not finished yet, in file order. */
  #pending: number[] = [];
  readonly #open = new Map<number, OpenPiece>();
  #verifiedBytes = 0;
  #hasPiece = false;

  constructor(layout: PullLayout, target: PullTarget) {
    this.#layout = layout;
    this.#target = target;
  }

  /** Replaces what is to be pulled. Pieces that left the extents are given back. */
  setExtents(extents: readonly Extent[]): void {
    const wanted = new Set<number>();
    for (const { first, count } of extents) {
      for (let piece = first; piece < first + count; piece += 1) wanted.add(piece);
    }
    for (const [piece, open] of this.#open) {
      if (wanted.has(piece) || open.finishing) continue;
      open.assembly.abort();
      this.#open.delete(piece);
    }
    this.#pending = [...wanted].sort((a, b) => a - b);
  }

  /**
   * At most `maxBytes` from the lowest gap on, taken out of the plan; undefined: nothing now.
   * With `from`, the lowest gap of that file that starts there or later.
   */
  next(maxBytes: number, from?: FilePosition): PullRange | undefined {
    const found = this.#firstGap(from);
    if (found === undefined) return undefined;
    const { fileIndex, offset: pieceStart } = this.#layout.locate(found.piece);
    const parts: { piece: number; offset: number; length: number }[] = [];
    let bytes = 0;
    let piece = found.piece;
    let open: OpenPiece | undefined = found.open;
    while (open !== undefined && bytes < maxBytes) {
      const gap: Gap | undefined = open.gaps[0];
      if (gap === undefined || (parts.length > 0 && gap.offset !== 0)) break;
      const length = Math.min(gap.length, maxBytes - bytes);
      const rest = { offset: gap.offset + length, length: gap.length - length };
      open.gaps = rest.length > 0 ? [rest, ...open.gaps.slice(1)] : open.gaps.slice(1);
      parts.push({ piece, offset: gap.offset, length });
      bytes += length;
      if (gap.offset + length < this.#layout.pieceSizeBytes(piece)) break;
      piece += 1;
      open = this.#pending.includes(piece) ? this.#opened(piece) : undefined;
      if (open !== undefined && this.#layout.locate(piece).fileIndex !== fileIndex) break;
    }
    const start = pieceStart + (parts[0]?.offset ?? 0);
    return { fileIndex, start, end: start + bytes, parts };
  }

  /** Puts back what was not received: everything from `receivedBytes` of the range on. */
  putBack(range: PullRange, receivedBytes = 0): void {
    let skip = receivedBytes;
    for (const { piece, offset, length } of range.parts) {
      const skipped = Math.min(skip, length);
      skip -= skipped;
      const open = this.#open.get(piece);
      if (open === undefined || skipped === length) continue;
      const gap = { offset: offset + skipped, length: length - skipped };
      open.gaps = merged([...open.gaps, gap]);
    }
  }

  /** The bytes from `at` of the range on. Returns the pieces that are complete by them. */
  write(range: PullRange, at: number, chunk: Uint8Array): PieceAssembly[] {
    const complete: PieceAssembly[] = [];
    let partStart = 0;
    for (const { piece, offset, length } of range.parts) {
      const from = Math.max(at, partStart);
      const to = Math.min(at + chunk.byteLength, partStart + length);
      const open = this.#open.get(piece);
      if (from < to && open !== undefined) {
        open.assembly.write(offset + from - partStart, chunk.subarray(from - at, to - at));
        open.missingBytes -= to - from;
        open.broughtBytes += to - from;
        if (open.missingBytes === 0) {
          open.finishing = true;
          this.#hasPiece = true;
          complete.push(open.assembly);
        }
      }
      partStart += length;
    }
    return complete;
  }

  /** A piece's finish() came back; verified pieces are done, others are fetched again. */
  finished(piece: number, verified: boolean): void {
    if (verified) this.#verifiedBytes += this.#open.get(piece)?.broughtBytes ?? 0;
    this.#open.delete(piece);
    if (verified) this.#pending = this.#pending.filter((other) => other !== piece);
  }

  /** Of verified pieces, what was written here. */
  get verifiedBytes(): number {
    return this.#verifiedBytes;
  }

  /** Whether of any piece every byte has come. */
  get hasPiece(): boolean {
    return this.#hasPiece;
  }

  /** Pieces whose bytes are all there and are being verified or stored. */
  get finishing(): number {
    let count = 0;
    for (const open of this.#open.values()) count += Number(open.finishing);
    return count;
  }

  /** Nothing is left to do. */
  get done(): boolean {
    this.#dropHeld();
    return this.#pending.length === 0;
  }

  unfinished(): Extent[] {
    this.#dropHeld();
    const extents: { first: number; count: number }[] = [];
    for (const piece of this.#pending) {
      const last = extents.at(-1);
      if (last !== undefined && last.first + last.count === piece) last.count += 1;
      else extents.push({ first: piece, count: 1 });
    }
    return extents;
  }

  /** Gives back every piece that is not being finished. */
  abort(): void {
    for (const [piece, open] of this.#open) {
      if (open.finishing) continue;
      open.assembly.abort();
      this.#open.delete(piece);
    }
  }

  #firstGap(from?: FilePosition): { piece: number; open: OpenPiece } | undefined {
    this.#dropHeld();
    let looked = 0;
    for (const piece of this.#pending) {
      const { fileIndex, offset } = this.#layout.locate(piece);
      if (from !== undefined) {
        if (fileIndex !== from.fileIndex) continue;
        if (offset + this.#layout.pieceSizeBytes(piece) <= from.offset) continue;
      }
      const open = this.#opened(piece);
      // Our own pieces that are under way are as many as it takes.
      if (open === undefined) looked += 1;
      if (looked > LOOK_AHEAD) return undefined;
      const gap = open?.gaps[0];
      if (open === undefined || gap === undefined) continue;
      if (from === undefined || offset + gap.offset >= from.offset) return { piece, open };
    }
    return undefined;
  }

  #opened(piece: number): OpenPiece | undefined {
    const open = this.#open.get(piece);
    if (open !== undefined) return open;
    const assembly = this.#target.assemble(piece, 'origin');
    if (assembly === undefined) return undefined;
    const gaps = assembly.missing().map(({ offset, length }) => ({ offset, length }));
    const missingBytes = gaps.reduce((sum, { length }) => sum + length, 0);
    const opened = { assembly, gaps, missingBytes, broughtBytes: 0, finishing: false };
    this.#open.set(piece, opened);
    return opened;
  }

  /** Others bring pieces too: what the transfer holds is no work any more. */
  #dropHeld(): void {
    const isWork = (piece: number) => this.#open.has(piece) || !this.#target.holds(piece);
    if (!this.#pending.every(isWork)) this.#pending = this.#pending.filter(isWork);
  }
}

function merged(gaps: readonly Gap[]): Gap[] {
  const result: { offset: number; length: number }[] = [];
  for (const { offset, length } of [...gaps].sort((a, b) => a.offset - b.offset)) {
    const last = result.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else result.push({ offset, length });
  }
  return result;
}
