/*
 * swarm/ decides whom to let in, what to ask of whom, whom to serve and what to announce. Pure: time
 * and randomness come in, nothing goes out.
 */
import type { Bitfield } from '../pieces/bitfield.ts';
import type { Deadlines } from './peerRate.ts';

export type PieceState =
  | 'missing'
  /** Blocks of it are asked of peers. */
  | 'active'
  /** Somebody brings it by HTTP. */
  | 'taken'
  | 'verifying'
  | 'held';

export interface Block {
  readonly piece: number;
  readonly offset: number;
  readonly length: number;
}

/** However often it was late: then who has it cannot be waited for. */
const MAX_LATE_MS = 120_000;

interface ActivePiece {
  readonly piece: number;
  readonly sizeBytes: number;
  /** Per block: who was asked last; 0 is nobody. */
  readonly askedOf: Int32Array;
  /** Per block: after how long, and when, somebody else may be asked; when HTTP may bring it. */
  readonly patienceMs: Float64Array;
  readonly lateAtMs: Float64Array;
  readonly helpAtMs: Float64Array;
  /** Per block: who sent it; 0 while it is missing. */
  readonly sender: Int32Array;
  /** The peer that alone is asked for it; the next one to be asked, or anybody. */
  sole: number | 'next' | undefined;
  unasked: number;
  missing: number;
}

export interface PickerOptions {
  readonly pieceCount: number;
  readonly blockBytes: number;
  readonly pieceSizeBytes: (piece: number) => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/**
 * Which block to ask of a peer next: first what is begun, so that few pieces are in progress; then
 * the rarest piece, ties at random; at last blocks that are late elsewhere. Peers are numbers > 0.
 */
export class PiecePicker {
  readonly #options: PickerOptions;
  readonly #states: PieceState[];
  readonly #availability: Uint16Array;
  readonly #active = new Map<number, ActivePiece>();
  /** Active pieces that have blocks nobody was asked for. */
  readonly #open = new Set<ActivePiece>();
  readonly #named: Uint8Array;
  /** What several peers sent of them was wrong, and nobody knows yet whose. */
  readonly #doubtful = new Set<number>();
  /** Every piece that is missing and named, in no order, and where each is in the list; -1: not. */
  readonly #candidates: number[] = [];
  readonly #candidateAt: Int32Array;
  #version = 0;

  constructor(options: PickerOptions) {
    this.#options = options;
    this.#states = new Array(options.pieceCount).fill('missing');
    this.#availability = new Uint16Array(options.pieceCount);
    this.#named = new Uint8Array(options.pieceCount);
    this.#candidateAt = new Int32Array(options.pieceCount).fill(-1);
  }

  /**
   * Grows whenever blocks may be asked for that could not be before, whoever has them. A peer that
   * comes to have a piece is not counted: see mayAsk().
   */
  get version(): number {
    return this.#version;
  }

  /** The feed names it, or does not any more: only what it names is asked for. */
  name(piece: number, named: boolean): void {
    this.#named[piece] = Number(named);
    this.#list(piece);
  }

  isNamed(piece: number): boolean {
    return this.#named[piece] === 1;
  }

  /** Whether a peer that has it could be asked for some of it. */
  mayAsk(piece: number): boolean {
    if (this.#candidateAt[piece] !== -1) return true;
    const active = this.#active.get(piece);
    return active !== undefined && this.#open.has(active);
  }

  state(piece: number): PieceState {
    return this.#states[piece] as PieceState;
  }

  /** How many connected peers have it. */
  availability(piece: number): number {
    return this.#availability[piece] ?? 0;
  }

  peerHas(piece: number): void {
    this.#availability[piece] = this.availability(piece) + 1;
  }

  /** It has not, after all. */
  peerLacks(piece: number, peer: number): void {
    this.#availability[piece] = Math.max(0, this.availability(piece) - 1);
    const active = this.#active.get(piece);
    if (active?.sole !== peer) return;
    active.sole = 'next';
    this.#version += 1;
  }

  /**
   * What came of several peers did not verify. Next time one peer gives all of it: then it is right,
   * or it is known who is not; a mixture could be wrong each time.
   */
  doubt(piece: number): void {
    this.#doubtful.add(piece);
  }

  isDoubtful(piece: number): boolean {
    return this.#doubtful.has(piece);
  }

  /** Its blocks may be asked of others. */
  peerLeft(peer: number, has: Bitfield): void {
    for (const piece of has.pieces()) this.peerLacks(piece, peer);
    for (const active of this.#active.values()) {
      for (let index = 0; index < active.askedOf.length; index += 1) {
        if (active.askedOf[index] === peer) this.#free(active, index);
      }
    }
  }

  /** A block that nobody was asked for; `mayBegin`: also of a piece that is not begun yet. */
  next(peer: number, has: Bitfield, mayBegin = true): Block | undefined {
    for (const active of this.#open) {
      if (!has.has(active.piece)) continue;
      if (active.sole !== undefined && active.sole !== peer) {
        // It owes nothing more of it: whoever is there first goes on.
        if (active.sole !== 'next' && this.isAsked(active.piece)) continue;
        active.sole = peer;
      }
      return this.#block(
        active,
        active.askedOf.findIndex((_, at) => isFree(active, at)),
      );
    }
    const piece = mayBegin ? this.#rarest(has) : undefined;
    return piece === undefined ? undefined : this.#block(this.#begin(peer, piece), 0);
  }

  /** A block that another peer was asked for and that is past its deadline. */
  latest(peer: number, has: Bitfield, nowMs: number): Block | undefined {
    for (const active of this.#active.values()) {
      if (!has.has(active.piece)) continue;
      const isOthers = active.sole !== undefined && active.sole !== peer;
      const index = active.sender.findIndex((sender, at) => {
        if (sender !== 0 || active.askedOf[at] === peer || !late(active, at, nowMs)) return false;
        return !isOthers || !isFree(active, at);
      });
      if (index >= 0) return this.#block(active, index);
    }
    return undefined;
  }

  /**
   * Another peer may be asked when it is late, each further time after twice as long: what the next one
   * sends takes the place of what the one before was sending, and over a slow link of our own nobody
   * would ever be done.
   */
  asked(peer: number, { piece, offset }: Block, nowMs: number, deadlines: Deadlines): void {
    const active = this.#active.get(piece);
    if (active === undefined) return;
    const index = offset / this.#options.blockBytes;
    let { lateMs } = deadlines;
    if (isFree(active, index)) {
      active.unasked -= 1;
      if (active.unasked === 0) this.#open.delete(active);
    } else {
      const before = active.patienceMs[index] as number;
      lateMs = Math.min(MAX_LATE_MS, Math.max(lateMs, 2 * before));
    }
    active.askedOf[index] = peer;
    active.patienceMs[index] = lateMs;
    active.lateAtMs[index] = nowMs + lateMs;
    active.helpAtMs[index] = nowMs + deadlines.helpMs;
  }

  /** The peer will not send it. */
  rejected(peer: number, { piece, offset }: Pick<Block, 'piece' | 'offset'>): void {
    const active = this.#active.get(piece);
    const index = offset / this.#options.blockBytes;
    if (active?.askedOf[index] !== peer || active.sender[index] !== 0) return;
    if (active.sole === peer) active.sole = 'next';
    this.#free(active, index);
  }

  /** Whether bytes of this block still help. */
  wants(piece: number, offset: number): boolean {
    return this.#active.get(piece)?.sender[offset / this.#options.blockBytes] === 0;
  }

  /** Who else was asked for this block: their answer is not needed any more. */
  arrived(peer: number, piece: number, offset: number): { complete: boolean; other: number } {
    const active = this.#active.get(piece);
    const index = offset / this.#options.blockBytes;
    if (active === undefined || active.sender[index] !== 0) return { complete: false, other: 0 };
    const askedOf = active.askedOf[index] ?? 0;
    if (isFree(active, index)) {
      active.unasked -= 1;
      if (active.unasked === 0) this.#open.delete(active);
    }
    active.sender[index] = peer;
    active.missing -= 1;
    if (active.sole !== undefined && !this.isAsked(piece)) this.#version += 1;
    return { complete: active.missing === 0, other: askedOf === peer ? 0 : askedOf };
  }

  /** All blocks are here, or HTTP takes over: who sent which block; 0 is missing. */
  leaveActive(piece: number, to: 'verifying' | 'taken' | 'missing'): Int32Array {
    const active = this.#active.get(piece);
    if (active === undefined) throw new Error(`piece ${piece} is ${this.state(piece)}, not active`);
    this.#active.delete(piece);
    this.#open.delete(active);
    this.#enter(piece, to);
    return active.sender;
  }

  /** missing -> taken or held; taken -> verifying or missing; verifying -> held or missing; held -> missing. */
  enter(piece: number, to: Exclude<PieceState, 'active'>): void {
    const from = this.state(piece);
    const allowed =
      (from === 'missing' && (to === 'taken' || to === 'held')) ||
      (from === 'taken' && (to === 'verifying' || to === 'missing')) ||
      (from === 'verifying' && (to === 'held' || to === 'missing')) ||
      (from === 'held' && to === 'missing');
    if (!allowed) throw new Error(`piece ${piece}: ${from} -> ${to}`);
    this.#enter(piece, to);
  }

  /** Whether a peer was asked for some of it that has not come. */
  isAsked(piece: number): boolean {
    const active = this.#active.get(piece);
    return active !== undefined && active.unasked < active.missing;
  }

  /** Whether peers leave this active piece lying: help may bring a block, or none is asked. */
  isStuck(piece: number, nowMs: number): boolean {
    const active = this.#active.get(piece);
    if (active === undefined) return false;
    return (
      !this.isAsked(piece) ||
      active.sender.some(
        (sender, at) =>
          sender === 0 && !isFree(active, at) && (active.helpAtMs[at] as number) < nowMs,
      )
    );
  }

  /** Whether nothing that the feed names is left to begin. */
  get isAllBegun(): boolean {
    return this.#candidates.length === 0;
  }

  /** Of an active piece: how much has come of it, from 0 to 1. */
  arrivedShare(piece: number): number {
    const active = this.#active.get(piece);
    return active === undefined ? 0 : 1 - active.missing / active.sender.length;
  }

  #enter(piece: number, to: PieceState): void {
    this.#states[piece] = to;
    if (to === 'held') this.#doubtful.delete(piece);
    this.#list(piece);
  }

  /** Among the candidates exactly while it is missing and named. */
  #list(piece: number): void {
    const at = this.#candidateAt[piece] as number;
    const isCandidate = this.#states[piece] === 'missing' && this.#named[piece] === 1;
    if (isCandidate === at >= 0) return;
    if (isCandidate) {
      this.#candidateAt[piece] = this.#candidates.push(piece) - 1;
      if (this.availability(piece) > 0) this.#version += 1;
      return;
    }
    const last = this.#candidates.pop() as number;
    this.#candidateAt[piece] = -1;
    if (last === piece) return;
    this.#candidates[at] = last;
    this.#candidateAt[last] = at;
  }

  /**
   * The search begins at a random place and takes the first of the rarest: the list is in no order,
   * so ties are as good as random, for one random number. What one peer alone has ends it.
   */
  #rarest(has: Bitfield): number | undefined {
    const count = this.#candidates.length;
    const start = Math.floor(this.#options.random() * count);
    let best: number | undefined;
    let bestCount = Number.POSITIVE_INFINITY;
    for (let step = 0; step < count && bestCount > 1; step += 1) {
      const piece = this.#candidates[(start + step) % count] as number;
      const availability = this.#availability[piece] as number;
      if (availability >= bestCount || !has.has(piece)) continue;
      best = piece;
      bestCount = availability;
    }
    return best;
  }

  #begin(peer: number, piece: number): ActivePiece {
    const sizeBytes = this.#options.pieceSizeBytes(piece);
    const blocks = Math.ceil(sizeBytes / this.#options.blockBytes);
    const active = {
      piece,
      sizeBytes,
      askedOf: new Int32Array(blocks),
      patienceMs: new Float64Array(blocks),
      lateAtMs: new Float64Array(blocks),
      helpAtMs: new Float64Array(blocks),
      sender: new Int32Array(blocks),
      sole: this.#doubtful.has(piece) ? peer : undefined,
      unasked: blocks,
      missing: blocks,
    };
    this.#active.set(piece, active);
    this.#open.add(active);
    this.#enter(piece, 'active');
    return active;
  }

  #block({ piece, sizeBytes }: ActivePiece, index: number): Block {
    const offset = index * this.#options.blockBytes;
    return { piece, offset, length: Math.min(this.#options.blockBytes, sizeBytes - offset) };
  }

  #free(active: ActivePiece, index: number): void {
    if (active.sender[index] !== 0) return;
    active.askedOf[index] = 0;
    active.unasked += 1;
    this.#open.add(active);
    this.#version += 1;
  }
}

function isFree(active: ActivePiece, index: number): boolean {
  return active.askedOf[index] === 0 && active.sender[index] === 0;
}

function late(active: ActivePiece, index: number, nowMs: number): boolean {
  return (active.lateAtMs[index] as number) < nowMs;
}
