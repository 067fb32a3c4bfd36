/**
 * What a replica that does not lead does with requests. A 307 names the leader. While nobody leads,
 * or whoever asks has not reached the leader, which is seconds before its Lease is over, requests
 * for a work stream are held until another one leads, or the leader is seen to live: when this
 * replica is next, they are served over the connections that they came by, and thousands of
 * processes need no handshake in the very second in which the next leader has the most to do. Whom
 * it sends on, it sends at a pace at which a leader can shake hands.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import { UNREACHABLE_HEADER } from '@sluice/protocol/messages.ts';
import type { NextFunction, Request, Response } from 'express';
import { ApiRefusal } from './refusal.ts';

export interface StandbyDependencies {
  readonly clock: Clock;
  readonly isLeader: () => boolean;
  /** Where the leader serves; undefined while nobody leads. */
  readonly leaderUrl: () => string | undefined;
  /** On the clock: when it was seen that the leader had renewed its Lease. */
  readonly renewalSeenMs: () => number | undefined;
}

export interface StandbyOptions extends StandbyDependencies {
  /** Whether it comes with a session of ours: nobody else is held. */
  readonly isKnown: (request: Request) => boolean;
}

/** Under the time in which clients expect the beginning of an answer, or word that it will come. */
const HOLD_MS = 3_000;
const MAX_HELD = 20_000;
/**
 * What a dead leader has renewed last is seen within this. One that renews later lives: it had too
 * much to do when it was not reached.
 */
const RENEWED_LATE_MS = 3_000;
const LOOK_MS = 50;
/** At each look: 2,000 a second are served here, 500 sent on, for which a leader needs half a core. */
const SERVED_A_LOOK = 100;
const SENT_ON_A_LOOK = 25;

interface Held {
  readonly request: Request;
  readonly response: Response;
  readonly next: NextFunction;
  /** The leader that was not reached. */
  readonly unreachable: string | undefined;
  readonly sinceMs: number;
  untilMs: number;
}

export class Standby {
  readonly #deps: StandbyOptions;
  /** In the order in which they came. */
  readonly #held = new Set<Held>();
  #timer: Timer | undefined;

  constructor(dependencies: StandbyOptions) {
    this.#deps = dependencies;
  }

  /** Before everything else, as Express calls it. */
  handle(request: Request, response: Response, next: NextFunction): void {
    const { clock, isKnown, isLeader, leaderUrl } = this.#deps;
    if (isLeader()) {
      next();
      return;
    }
    const named = leaderUrl();
    const mayWait = request.path === '/work' && isKnown(request);
    const unreachable = mayWait ? request.get(UNREACHABLE_HEADER) : undefined;
    const leader = reachable(named, unreachable);
    const isTurn = leader !== undefined && this.#held.size === 0;
    if (mayWait && !isTurn && this.#held.size < MAX_HELD) {
      const sinceMs = clock.now();
      const untilMs = sinceMs + HOLD_MS;
      const held = { request, response, next, unreachable, sinceMs, untilMs };
      this.#held.add(held);
      response.once('close', () => this.#held.delete(held));
      this.#timer ??= clock.setTimer(LOOK_MS, () => this.#look());
    } else if (leader === undefined) refuse(next);
    else sendOn(request, response, leader);
  }

  #look(): void {
    this.#timer = undefined;
    const { clock, isLeader, leaderUrl, renewalSeenMs } = this.#deps;
    const leads = isLeader();
    // Itself, then: those are served here.
    const named = leads ? undefined : leaderUrl();
    const renewedMs = renewalSeenMs() ?? Number.NEGATIVE_INFINITY;
    let [served, sentOn] = [0, 0];
    for (const held of this.#held) {
      const { request, response, next, sinceMs, untilMs } = held;
      const isDue = clock.now() >= untilMs;
      const lives = renewedMs > sinceMs + RENEWED_LATE_MS;
      const leader = lives ? named : reachable(named, held.unreachable);
      if (leads && (served < SERVED_A_LOOK || isDue)) {
        served += 1;
        this.#held.delete(held);
        next();
      } else if (leader !== undefined && sentOn < SENT_ON_A_LOOK) {
        sentOn += 1;
        this.#held.delete(held);
        sendOn(request, response, leader);
      } else if (isDue && request.method === 'POST') {
        // To be asked again it would have to end, with its connection: what goes up is open.
        response.writeProcessing();
        held.untilMs = clock.now() + HOLD_MS;
      } else if (isDue) {
        this.#held.delete(held);
        // Over the same connection, at once: it was no failure.
        response.set('retry-after', '0');
        refuse(next);
      }
    }
    if (this.#held.size > 0) this.#timer = clock.setTimer(LOOK_MS, () => this.#look());
  }
}

/** Undefined: nobody leads whom this one could reach. */
function reachable(leader: string | undefined, unreachable: string | undefined) {
  return leader === unreachable ? undefined : leader;
}

function sendOn(request: Request, response: Response, leader: string): void {
  const location = new URL(request.originalUrl, leader).href;
  if (!request.complete) response.set('connection', 'close');
  response.status(307).location(location);
  response.json({ code: 'NotLeading', message: `the leader serves at ${location}` });
}

function refuse(next: NextFunction): void {
  next(new ApiRefusal(503, 'NotLeading', 'nobody leads at the moment'));
}
