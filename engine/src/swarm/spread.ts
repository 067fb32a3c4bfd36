import { Bitfield } from '../pieces/bitfield.ts';

export interface SpreadOptions {
  readonly pieceCount: number;
  readonly pieceLengthBytes: number;
}

/** To be announced to this agent alone. */
export interface Offer {
  readonly agent: number;
  readonly piece: number;
}

export interface Announcements {
  readonly offers: readonly Offer[];
  /** To every agent that was not offered it. */
  readonly toAll: readonly number[];
}

interface Agent {
  readonly number: number;
  readonly has: Bitfield;
  /** What it alone was told of. */
  readonly shown: Bitfield;
  /** First offers that it has not taken yet: since when. */
  readonly open: Map<number, number>;
  /** How many of those it may have. */
  limit: number;
}

/** A piece of ours that some agents know of. */
interface Spreading {
  /** Agents that were shown it. */
  shownTo: number;
  /** From when on it is shown again. */
  againAtMs: number;
}

/**
 * So many agents are offered a piece while the uplink has room. With one, agents' uplinks must be
 * busy nearly all the time when a file comes as fast as they can take it, and queues grow long;
 * with more, less of the uplink is left for the acknowledgements of the pull.
 */
const FIRST_COPIES = 3;
/** One copy for so many agents, if that is more: each of them passes it on to about as many. */
const AGENTS_PER_COPY = 20;
const FIRST_LIMIT = 3;
const MAX_LIMIT = 256;
/** An agent that takes an offer sooner may have one more open, one that takes it later one less. */
const SOON_MS = 400;
const LATE_MS = 800;
/** Offers of so long are open, by how fast they were taken lately. */
const OPEN_SECONDS = 0.75;
const MIN_OPEN = 4;
const MIN_OPEN_BYTES = 4 * 1024 * 1024;
/** What agents can do by themselves with a piece that one of them has, they have done in so long. */
const AGAIN_MS = 1000;
/** Then it is shown to twice as many, so often. */
const DOUBLE_MS = 250;
/** Each time so much later while others have not been shown at all. */
const HOLD_MS = 2000;
/** An agent that does not take what it alone was offered. */
const PATIENCE_MS = 2000;
const RATE_WEIGHT = 0.3;
const RATE_INTERVAL_MS = 250;

/**
 * Which of its pieces a relay shows to which agent, so that its uplink carries what agents cannot
 * give to each other: each piece to one agent first, and only as many as the uplink gives away in
 * a moment; to more of them when it does not get on by itself, and at last to all.
 */
export class Spread {
  readonly #agents = new Map<number, Agent>();
  readonly #held: Bitfield;
  /** How many agents have it. */
  readonly #copies: Uint16Array;
  /** Ours, and nobody was shown it; in the order in which they came. */
  readonly #waiting = new Set<number>();
  readonly #spreading = new Map<number, Spreading>();
  readonly #minOpen: number;
  #open = 0;
  #wasTaken = false;
  #takenSince = 0;
  #ratedAtMs = 0;
  #takenPerSecond = 0;
  #turn = 0;

  constructor({ pieceCount, pieceLengthBytes }: SpreadOptions) {
    this.#held = new Bitfield(pieceCount);
    this.#copies = new Uint16Array(pieceCount);
    this.#minOpen = Math.max(MIN_OPEN, Math.floor(MIN_OPEN_BYTES / pieceLengthBytes));
  }

  join(number: number): void {
    const { size } = this.#held;
    this.#agents.set(number, {
      number,
      has: new Bitfield(size),
      shown: new Bitfield(size),
      open: new Map(),
      limit: FIRST_LIMIT,
    });
  }

  leave(number: number): void {
    const agent = this.#agents.get(number);
    if (agent === undefined) return;
    this.#agents.delete(number);
    for (const piece of agent.has.pieces()) {
      this.#copies[piece] = this.copies(piece) - 1;
      if (this.copies(piece) === 0) this.#again(piece, 0);
    }
    for (const piece of agent.open.keys()) this.#again(piece, 0);
    this.#open -= agent.open.size;
  }

  /** Whether every agent is told of it. */
  isForAll(piece: number): boolean {
    return this.#held.has(piece) && !this.#waiting.has(piece) && !this.#spreading.has(piece);
  }

  /** How many agents have it. */
  copies(piece: number): number {
    return this.#copies[piece] as number;
  }

  wasShown(number: number, piece: number): boolean {
    return this.#agents.get(number)?.shown.has(piece) === true;
  }

  /** It is ours now. */
  gained(piece: number, nowMs: number): void {
    if (!this.#held.add(piece)) return;
    if (this.copies(piece) === 0) this.#waiting.add(piece);
    else this.#spreading.set(piece, { shownTo: 0, againAtMs: nowMs + AGAIN_MS });
  }

  /** It is not ours any more. Agents are shown it anew when it is again. */
  lost(piece: number): void {
    if (!this.#held.delete(piece)) return;
    this.#waiting.delete(piece);
    this.#spreading.delete(piece);
    for (const agent of this.#agents.values()) {
      agent.shown.delete(piece);
      this.#close(agent, piece);
    }
  }

  /** An agent has it, from us or from others. */
  taken(number: number, piece: number, nowMs: number): void {
    const agent = this.#agents.get(number);
    if (agent === undefined || !agent.has.add(piece)) return;
    this.#wasTaken = true;
    this.#copies[piece] = this.copies(piece) + 1;
    if (this.copies(piece) === 1) this.#again(piece, nowMs + AGAIN_MS);
    if (this.#waiting.delete(piece)) {
      this.#spreading.set(piece, { shownTo: 0, againAtMs: nowMs + AGAIN_MS });
    }
    const sinceMs = agent.open.get(piece);
    if (sinceMs === undefined) return;
    this.#close(agent, piece);
    this.#takenSince += 1;
    const tookMs = nowMs - sinceMs;
    if (tookMs < SOON_MS) agent.limit = Math.min(MAX_LIMIT, agent.limit + 1);
    else if (tookMs > LATE_MS) agent.limit = Math.max(1, agent.limit - 1);
  }

  /** What to announce now. `isPulling`: there is more to come. */
  announcements(nowMs: number, isPulling: boolean): Announcements {
    this.#rate(nowMs);
    const offers: Offer[] = [];
    const toAll: number[] = [];
    if (this.#agents.size > 1) this.#offer(nowMs, offers);
    const isLast = this.#agents.size < 2 || (!isPulling && this.#waiting.size === 0);
    if (this.#agents.size === 1) {
      toAll.push(...this.#waiting);
      this.#waiting.clear();
    }
    for (const [piece, spreading] of this.#spreading) {
      if (isLast || this.copies(piece) >= this.#agents.size) this.#showAll(piece, toAll);
      else if (nowMs >= spreading.againAtMs + this.#holdMs(piece))
        this.#showAgain(piece, spreading, nowMs, offers, toAll);
    }
    return { offers, toAll };
  }

  #offer(nowMs: number, offers: Offer[]): void {
    const most = Math.max(this.#minOpen, this.#takenPerSecond * OPEN_SECONDS);
    const ready = () => [...this.#agents.values()].filter(({ open, limit }) => open.size < limit);
    let agents = ready();
    for (const piece of this.#waiting) {
      if (this.#open >= most || agents.length === 0) return;
      this.#waiting.delete(piece);
      const spreading = { shownTo: 0, againAtMs: nowMs + PATIENCE_MS };
      this.#spreading.set(piece, spreading);
      offers.push(this.#offerOne(piece, spreading, agents, nowMs));
      agents = agents.filter(({ open, limit }) => open.size < limit);
    }
    // The uplink has room; the very first piece goes to one agent as fast as it can.
    if (!this.#wasTaken) return;
    const copies = Math.max(FIRST_COPIES, Math.ceil(this.#agents.size / AGENTS_PER_COPY));
    for (const [piece, spreading] of this.#spreading) {
      if (this.#open * 2 >= most) return;
      if (spreading.shownTo >= copies || this.copies(piece) >= copies) continue;
      agents = ready().filter(({ has, shown }) => !has.has(piece) && !shown.has(piece));
      if (agents.length > 0) offers.push(this.#offerOne(piece, spreading, agents, nowMs));
    }
  }

  #offerOne(piece: number, spreading: Spreading, agents: readonly Agent[], nowMs: number): Offer {
    const agent = agents.reduce((one, other) => (load(other) < load(one) ? other : one));
    // Few agents know each other. Of many that have nothing open it is the one whose turn was longest
    // ago: all are to have something to pass on, for the uplinks of a few are soon full.
    if (this.#agents.size > AGENTS_PER_COPY) {
      this.#agents.delete(agent.number);
      this.#agents.set(agent.number, agent);
    }
    agent.open.set(piece, nowMs);
    agent.shown.add(piece);
    spreading.shownTo += 1;
    this.#open += 1;
    return { agent: agent.number, piece };
  }

  /** While there are pieces that no agent knows of, the uplink is for those. */
  #holdMs(piece: number): number {
    return this.#waiting.size > 0 && this.copies(piece) > 0 ? HOLD_MS : 0;
  }

  #showAgain(
    piece: number,
    spreading: Spreading,
    nowMs: number,
    offers: Offer[],
    toAll: number[],
  ): void {
    spreading.againAtMs = nowMs + DOUBLE_MS;
    let count = Math.max(1, spreading.shownTo);
    const lacking = [...this.#agents.values()].filter(
      ({ has, shown }) => !has.has(piece) && !shown.has(piece),
    );
    if (count >= lacking.length) {
      this.#showAll(piece, toAll);
      return;
    }
    this.#turn += 1;
    for (let at = this.#turn; count > 0; at += 1, count -= 1) {
      const agent = lacking[at % lacking.length] as Agent;
      agent.shown.add(piece);
      spreading.shownTo += 1;
      offers.push({ agent: agent.number, piece });
    }
  }

  #showAll(piece: number, toAll: number[]): void {
    this.#spreading.delete(piece);
    toAll.push(piece);
    for (const agent of this.#agents.values()) this.#close(agent, piece);
  }

  #close({ open }: Agent, piece: number): void {
    if (open.delete(piece)) this.#open -= 1;
  }

  #again(piece: number, atMs: number): void {
    const spreading = this.#spreading.get(piece);
    if (spreading !== undefined) spreading.againAtMs = atMs;
  }

  #rate(nowMs: number): void {
    const elapsedMs = nowMs - this.#ratedAtMs;
    if (elapsedMs < RATE_INTERVAL_MS) return;
    const rate = (this.#takenSince * 1000) / elapsedMs;
    this.#takenPerSecond += RATE_WEIGHT * (rate - this.#takenPerSecond);
    this.#takenSince = 0;
    this.#ratedAtMs = nowMs;
  }
}

/** The less, the sooner it takes another one. */
function load({ open, limit }: Agent): number {
  return open.size / limit;
}
