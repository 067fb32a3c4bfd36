/**
 * Which pieces of one epoch are pulled by whom. PURE: state in, state changed, no time of its own.
 * Every piece is given to one puller at a time, in file order, about a second of its rate at once.
 */
import type { Extent } from '@sluice/protocol/leaseMessages.ts';

/** A certificate and a grant name so many at most. */
const MAX_EXTENTS = 200;
/** How long what a lost relay alone held may come from peers before the origin gives it again. */
const ORPHAN_WAIT_MS = 1_500;
/**
 * The same of what nodes have got by then: relays take it from them once they have pulled the rest.
 * It ends, for who says that it has a piece may be wrong, or out of reach.
 */
const SPREAD_ORPHAN_WAIT_MS = 10_000;

/** Given by an earlier leader, in answer to a request that is not known: after any that is heard of. */
const UNKNOWN = Number.POSITIVE_INFINITY;
/** Of a holder that does not say which answers it has heard. */
const ALL = Number.POSITIVE_INFINITY;

export class ExtentPool {
  readonly pieceCount: number;
  /** Pieces that leases are to bring, by lease; and in answer to which request they were given. */
  readonly #assigned = new Map<string, Map<number, number>>();
  readonly #taken: Uint8Array;
  /** Others have them, and give them: nobody gets them to pull. */
  #kept: ReadonlySet<number> = new Set();
  #keptExtents: readonly Extent[] = [];
  /** What each holder has by its reports, or has finished under a lease; and of how many each is. */
  readonly #held = new Map<string, Uint8Array>();
  readonly #holders: Uint32Array;
  /**
   * Open is what no lease and no holder has, no lost one had and nobody gives. Kept up to date, for
   * a request that looked through a large file's pieces would cost more than all else that it needs.
   */
  #openCount: number;
  /** Nothing below it is open. */
  #openFrom = 0;
  /** What peers of each holder have, by its reports. */
  readonly #spread = new Map<string, Uint8Array>();
  #gainedAtMs = Number.NEGATIVE_INFINITY;
  #gaveAtMs = Number.NEGATIVE_INFINITY;
  /** Pieces that a lost holder had and no other holder does. */
  readonly #orphans = new Set<number>();

  constructor(pieceCount: number) {
    this.pieceCount = pieceCount;
    this.#taken = new Uint8Array(pieceCount);
    this.#holders = new Uint32Array(pieceCount);
    this.#openCount = pieceCount;
  }

  /** Replaces what was kept back before. What was given already is brought all the same. */
  keep(extents: readonly Extent[]): void {
    if (extents === this.#keptExtents || extents.length + this.#keptExtents.length === 0) return;
    this.#keptExtents = extents;
    this.#kept = piecesOf(extents);
    this.#countOpen();
  }

  /** What a holder says it has, and its peers; BitTorrent bitfields, high bit first. */
  report(
    holder: string,
    bitfield: Uint8Array,
    spread: Uint8Array | undefined,
    nowMs: number,
  ): void {
    if (spread !== undefined) this.#spread.set(holder, spread);
    const held = this.#heldBy(holder);
    for (let piece = 0; piece < this.pieceCount; piece += 1) {
      if (isIn(bitfield, piece) && held[piece] === 0 && this.#hold(held, piece)) {
        this.#gainedAtMs = nowMs;
      }
    }
  }

  /** The process is gone, and what it alone had with it. False: it was not known to hold anything. */
  forget(holder: string, nowMs: number): boolean {
    const had = this.#held.get(holder);
    this.#held.delete(holder);
    this.#spread.delete(holder);
    if (had === undefined) return false;
    had.forEach((has, piece) => {
      if (has === 0) return;
      this.#holders[piece] = this.#holdersOf(piece) - 1;
      if (!this.isHeld(piece)) this.#orphans.add(piece);
    });
    this.#gainedAtMs = nowMs;
    return true;
  }

  /** What anybody holds is not known any more, until it is reported again. */
  forgetHeld(): void {
    this.#held.clear();
    this.#holders.fill(0);
    this.#orphans.clear();
    this.#countOpen();
  }

  isHeld(piece: number): boolean {
    return this.#holdersOf(piece) > 0;
  }

  /** Pieces that no lease and no relay has; orphans wait until peers have stopped bringing them. */
  free(nowMs: number): number {
    let count = this.#openCount;
    for (const piece of this.#orphans) if (this.#isFree(piece, nowMs)) count += 1;
    return count;
  }

  /** Gives the lowest free pieces, so many at most, on top of what the lease has. */
  take(leaseId: string, count: number, nowMs: number, sequence = 0): void {
    const pieces = this.#assignedTo(leaseId);
    let runs = extentsOf(pieces.keys()).length;
    let left = count;
    for (const piece of this.#freePieces(nowMs)) {
      if (left <= 0) return;
      const joins = pieces.has(piece - 1);
      if (!joins && runs >= MAX_EXTENTS) return;
      if (!joins) runs += 1;
      pieces.set(piece, sequence);
      this.#take(piece);
      this.#gaveAtMs = nowMs;
      left -= 1;
    }
  }

  /**
   * What the holder says is unfinished. The rest of its pieces are done and held by it. Those that
   * came with answers after the one to request `heard` stay its own, for the answers were lost,
   * unless its reports say that it has them.
   */
  progress(leaseId: string, holder: string, unfinished: readonly Extent[], heard = ALL): void {
    const pieces = this.#assignedTo(leaseId);
    const open = piecesOf(unfinished);
    const held = this.#heldBy(holder);
    for (const [piece, sequence] of pieces) {
      const isToldOf = sequence <= heard || held[piece] === 1;
      if (open.has(piece) || !isToldOf) continue;
      pieces.delete(piece);
      if (held[piece] === 0) this.#hold(held, piece);
      this.#untake(piece);
    }
  }

  /** The answer to this request names all that the lease has: who hears of it knows of it. */
  named(leaseId: string, sequence: number): void {
    const pieces = this.#assigned.get(leaseId);
    if (pieces === undefined) return;
    for (const [piece, of] of pieces) if (of > sequence) pieces.set(piece, sequence);
  }

  /** The lease is over: what is left of it is free. */
  release(leaseId: string): void {
    for (const piece of this.#assigned.get(leaseId)?.keys() ?? []) this.#untake(piece);
    this.#assigned.delete(leaseId);
  }

  /** After a new leader has read the journal: what leases had, they still have. */
  restore(leaseId: string, extents: readonly Extent[]): void {
    const pieces = this.#assignedTo(leaseId);
    for (const piece of piecesOf(extents)) {
      if (piece >= this.pieceCount) continue;
      pieces.set(piece, UNKNOWN);
      this.#take(piece);
    }
  }

  /** Gives pieces back that were taken but not told to anybody. */
  giveBack(leaseId: string, pieces: readonly number[]): void {
    const assigned = this.#assignedTo(leaseId);
    for (const piece of pieces) {
      if (assigned.delete(piece)) this.#untake(piece);
    }
  }

  extentsOf(leaseId: string): Extent[] {
    return extentsOf(this.#assigned.get(leaseId)?.keys() ?? []);
  }

  /** From the lowest on. The pool may be changed by who goes through them. */
  *#freePieces(nowMs: number): Generator<number> {
    let piece = this.#orphans.size === 0 ? this.#openFrom : 0;
    for (; piece < this.pieceCount; piece += 1) {
      if (this.#isFree(piece, nowMs)) yield piece;
      else if (piece === this.#openFrom && !this.#isOpen(piece)) this.#openFrom += 1;
    }
  }

  #isOpen(piece: number): boolean {
    if (this.#taken[piece] === 1 || this.#kept.has(piece)) return false;
    return !this.isHeld(piece) && !this.#orphans.has(piece);
  }

  #countOpen(): void {
    this.#openCount = 0;
    this.#openFrom = 0;
    for (let piece = 0; piece < this.pieceCount; piece += 1) {
      if (this.#isOpen(piece)) this.#openCount += 1;
    }
  }

  #take(piece: number): void {
    if (this.#isOpen(piece)) this.#openCount -= 1;
    this.#taken[piece] = 1;
  }

  #untake(piece: number): void {
    if (this.#taken[piece] === 0) return;
    this.#taken[piece] = 0;
    if (!this.#isOpen(piece)) return;
    this.#openCount += 1;
    this.#openFrom = Math.min(this.#openFrom, piece);
  }

  /** One more holder has it; whether a lost one had been the only one. */
  #hold(held: Uint8Array, piece: number): boolean {
    if (this.#isOpen(piece)) this.#openCount -= 1;
    held[piece] = 1;
    this.#holders[piece] = this.#holdersOf(piece) + 1;
    return this.#orphans.delete(piece);
  }

  #holdersOf(piece: number): number {
    return this.#holders[piece] ?? 0;
  }

  #isFree(piece: number, nowMs: number): boolean {
    if (this.#taken[piece] === 1 || this.#kept.has(piece) || this.isHeld(piece)) return false;
    if (!this.#orphans.has(piece)) return true;
    if (!this.#isSpread(piece)) return nowMs - this.#gainedAtMs >= ORPHAN_WAIT_MS;
    // A relay that pulls asks no peers: it has not begun to take them while there is something left.
    return nowMs - Math.max(this.#gainedAtMs, this.#gaveAtMs) >= SPREAD_ORPHAN_WAIT_MS;
  }

  #isSpread(piece: number): boolean {
    for (const spread of this.#spread.values()) if (isIn(spread, piece)) return true;
    return false;
  }

  #assignedTo(leaseId: string): Map<number, number> {
    let pieces = this.#assigned.get(leaseId);
    if (pieces === undefined) {
      pieces = new Map();
      this.#assigned.set(leaseId, pieces);
    }
    return pieces;
  }

  #heldBy(holder: string): Uint8Array {
    let held = this.#held.get(holder);
    if (held === undefined) {
      held = new Uint8Array(this.pieceCount);
      this.#held.set(holder, held);
    }
    return held;
  }
}

function isIn(bitfield: Uint8Array, piece: number): boolean {
  return (((bitfield[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) === 1;
}

export function extentsOf(pieces: Iterable<number>): Extent[] {
  const extents: { first: number; count: number }[] = [];
  for (const piece of [...pieces].sort((a, b) => a - b)) {
    const last = extents.at(-1);
    if (last !== undefined && last.first + last.count === piece) last.count += 1;
    else extents.push({ first: piece, count: 1 });
  }
  return extents;
}

export function piecesOf(extents: readonly Extent[]): Set<number> {
  const pieces = new Set<number>();
  for (const { first, count } of extents) {
    for (let piece = first; piece < first + count; piece += 1) pieces.add(piece);
  }
  return pieces;
}
