/**
 * What a replica that does not lead does with requests. A 307 names the leader. While nobody leads,
 * or the leader does not answer this replica or whoever asks, which is seconds before its Lease is
 * over, requests for a work stream are held until another one leads, or the leader is seen to live:
 * when this replica is next, they are served over the connections that they came by, and thousands
 * of processes need no handshake in the very second in which the next leader has the most to do.
 * Whom it sends on, it sends at a pace at which a leader can shake hands.
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
  /** Whether a leader that serves there can be reached from here; undefined: soon known. */
  readonly leaderAnswers: (url: string) => boolean | undefined;
  /** On the clock: when it was seen that the leader had renewed its Lease. */
  readonly renewalSeenMs: () => number | undefined;
}

export interface StandbyOptions extends StandbyDependencies {
  /** Whether it comes with a session of ours: nobody else is held. */
  readonly isKnown: (request: Request) => boolean;
}

/**
 * Clients expect the beginning of an answer, or word that it will come, within what they prefer to
 * wait (RFC 7240); those of the release before do not say so, and wait for 5 s.
 */
const HOLD_MS = 3_000;
const MIN_HOLD_MS = 1_000;
const MAX_HOLD_MS = 10_000;
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
  /** Before it hears that it is held. */
  readonly holdMs: number;
  untilMs: number;
}

export class Standby {
  readonly #deps: StandbyOptions;
  /** In the order in which they came. */
  readonly #held = new Set<Held>();
  #timer: Timer | undefined;
  /** A leader that did not answer, and since when. */
  #silent: { readonly leader: string; readonly sinceMs: number } | undefined;

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
    const mayWait = request.path === '/work' && isKnown(request);
    const unreachable = mayWait ? request.get(UNREACHABLE_HEADER) : undefined;
    const leader = mayWait ? this.#reachable(leaderUrl(), unreachable) : leaderUrl();
    const isTurn = leader !== undefined && this.#held.size === 0;
    if (mayWait && !isTurn && this.#held.size < MAX_HELD) {
      const sinceMs = clock.now();
      const holdMs = holdMsOf(request);
      const untilMs = sinceMs + holdMs;
      const held = { request, response, next, unreachable, sinceMs, holdMs, untilMs };
      this.#held.add(held);
      response.once('close', () => this.#held.delete(held));
      this.#timer ??= clock.setTimer(LOOK_MS, () => this.#look());
    } else if (leader === undefined) refuse(next);
    else sendOn(request, response, leader);
  }

  /** Undefined: nobody leads whom this replica and whoever asks can reach. */
  #reachable(leader: string | undefined, unreachable: string | undefined): string | undefined {
    if (leader === undefined || leader === unreachable) return undefined;
    return this.#answers(leader) ? leader : undefined;
  }

  /** Also a leader that only this replica does not reach: it renews its Lease. */
  #answers(leader: string): boolean {
    const { clock, leaderAnswers, renewalSeenMs } = this.#deps;
    const answers = leaderAnswers(leader);
    if (answers === true) this.#silent = undefined;
    else if (answers === false && this.#silent?.leader !== leader) {
      this.#silent = { leader, sinceMs: clock.now() };
    }
    if (this.#silent?.leader !== leader) return answers === true;
    const renewedMs = renewalSeenMs() ?? Number.NEGATIVE_INFINITY;
    const livedThen = renewedMs > this.#silent.sinceMs + RENEWED_LATE_MS;
    return livedThen && clock.now() < renewedMs + RENEWED_LATE_MS;
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
      const leader = lives ? named : this.#reachable(named, held.unreachable);
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
        held.untilMs = clock.now() + held.holdMs;
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

/** Half of what it is prepared to wait, within bounds. */
function holdMsOf(request: Request): number {
  const [, seconds] = /^wait=(\d{1,4})$/.exec(request.get('prefer') ?? '') ?? [];
  if (seconds === undefined) return HOLD_MS;
  return Math.min(MAX_HOLD_MS, Math.max(MIN_HOLD_MS, Number(seconds) * 500));
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
