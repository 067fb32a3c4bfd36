/**
 * Streams take turns to send. What thousands are told at once would otherwise be encrypted and
 * written in one turn of the event loop, seconds in which nothing else is heard: neither an answer
 * about the Lease nor a lease that is to be renewed.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';

export interface Sender {
  /** Called when it is its turn. */
  write(): void;
}

/** A write costs about a tenth of a millisecond. */
const SENDERS_A_TURN = 32;
const TURN_MS = 1;

export class SendingTurns {
  readonly #clock: Clock;
  readonly #waiting = new Set<Sender>();
  #left = SENDERS_A_TURN;
  #isResting = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** At once, as long as few others have sent in this turn. */
  ask(sender: Sender): void {
    this.#waiting.add(sender);
    this.#serve();
  }

  #serve(): void {
    for (const sender of this.#waiting) {
      if (this.#left === 0) break;
      this.#left -= 1;
      this.#waiting.delete(sender);
      sender.write();
    }
    if (this.#isResting || this.#left === SENDERS_A_TURN) return;
    this.#isResting = true;
    this.#clock.setTimer(TURN_MS, () => {
      this.#isResting = false;
      this.#left = SENDERS_A_TURN;
      this.#serve();
    });
  }
}
