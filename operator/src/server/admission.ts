import type { Clock } from '@sluice/engine/ports/clock.ts';
import { ApiRefusal } from './refusal.ts';

/** Two for each connection to the API server, which status writes use, too. */
const MAX_UNDER_WAY = 64;
/** As fast as a leader shakes hands and begins streams. */
const COME_AGAIN_A_SECOND = 500;
const LONGEST_WAIT_MS = 30_000;

/**
 * So many are asked about at a time; the others are told when to come again, one after the other.
 * When thousands come at once, all of them would else wait for longer than they have patience, and
 * be asked about when they are gone.
 */
export class Admission {
  readonly #clock: Pick<Clock, 'now'>;
  #underWay = 0;
  /** When the last one of those who were refused comes again. */
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** Rejects with an ApiRefusal when there are too many. */
  async run<T>(act: () => Promise<T>): Promise<T> {
    if (this.#underWay >= MAX_UNDER_WAY) throw this.#refusal();
    this.#underWay += 1;
    try {
      return await act();
    } finally {
      this.#underWay -= 1;
    }
  }

  #refusal(): ApiRefusal {
    const now = this.#clock.now();
    const next = Math.max(now, this.#lastMs + 1000 / COME_AGAIN_A_SECOND);
    this.#lastMs = Math.min(next, now + LONGEST_WAIT_MS);
    const retryAfterSeconds = Math.max(1, Math.ceil((this.#lastMs - now) / 1000));
    const message = 'too many ask for a session at the moment';
    return new ApiRefusal(503, 'Busy', message, retryAfterSeconds);
  }
}
