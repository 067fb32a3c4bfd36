/**
 * Which pieces of one epoch nodes that are short bring from the origin themselves. PURE. The
 * server chooses, so that they bring different ones and have something to give each other.
 */
import type { Extent } from '@sluice/protocol/leaseMessages.ts';
import { extentsOf, piecesOf } from './extents.ts';

/** A grant names so many runs at most. */
const MAX_PIECES = 200;

export class TopUpPieces {
  /** How often each piece was given to somebody. */
  readonly #given: Uint16Array;
  readonly #assigned = new Map<string, Set<number>>();

  constructor(pieceCount: number) {
    this.#given = new Uint16Array(pieceCount);
  }

  has(leaseId: string): boolean {
    return this.#assigned.has(leaseId);
  }

  /**
   * Gives so many pieces of those that are acceptable (a BitTorrent bitfield), the ones that were
   * given least first; among equals, one after the other from `start` (0 to 1 of the file) on.
   */
  take(leaseId: string, acceptable: Uint8Array, count: number, start: number): void {
    const pieces = this.#assignedTo(leaseId);
    const candidates = this.#candidates(acceptable, pieces, start);
    const room = Math.max(0, MAX_PIECES - pieces.size);
    // Stable: the order of equals stays.
    const chosen = candidates.sort((a, b) => this.#times(a) - this.#times(b));
    for (const piece of chosen.slice(0, Math.min(count, room))) {
      pieces.add(piece);
      this.#given[piece] = Math.min(65_535, this.#times(piece) + 1);
    }
  }

  /** They were taken, and the lease has no room for them. */
  giveBack(leaseId: string, pieces: readonly number[]): void {
    const assigned = this.#assignedTo(leaseId);
    for (const piece of pieces) {
      if (assigned.delete(piece)) this.#given[piece] = this.#times(piece) - 1;
    }
  }

  /** What the holder has not finished; the rest is done. */
  progress(leaseId: string, unfinished: readonly Extent[]): void {
    const open = piecesOf(unfinished);
    const pieces = this.#assignedTo(leaseId);
    for (const piece of [...pieces]) if (!open.has(piece)) pieces.delete(piece);
  }

  release(leaseId: string): void {
    this.#assigned.delete(leaseId);
  }

  /** After a new leader has read the journal: what leases had, they still have. */
  restore(leaseId: string, extents: readonly Extent[]): void {
    const pieces = this.#assignedTo(leaseId);
    for (const piece of piecesOf(extents)) pieces.add(piece);
  }

  extentsOf(leaseId: string): Extent[] {
    return extentsOf(this.#assigned.get(leaseId) ?? new Set());
  }

  #candidates(acceptable: Uint8Array, taken: ReadonlySet<number>, start: number): number[] {
    const count = this.#given.length;
    const from = Math.floor(start * count);
    const candidates: number[] = [];
    for (let at = 0; at < count; at += 1) {
      const piece = (from + at) % count;
      const isAcceptable = (((acceptable[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) === 1;
      if (isAcceptable && !taken.has(piece)) candidates.push(piece);
    }
    return candidates;
  }

  #times(piece: number): number {
    return this.#given[piece] ?? 0;
  }

  #assignedTo(leaseId: string): Set<number> {
    let pieces = this.#assigned.get(leaseId);
    if (pieces === undefined) {
      pieces = new Set();
      this.#assigned.set(leaseId, pieces);
    }
    return pieces;
  }
}
