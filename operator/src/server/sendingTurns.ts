/**
 * Streams take turns to send. What thousands are told at once would otherwise be encrypted and
 * written in one turn of the event loop, seconds in which nothing else is heard: neither an answer
 * about the Lease nor a lease that is to be renewed.
 *
 * A turn is longer the longer the one before is ago. Where others keep the loop for half a second at
 * a time, turns of one length would let two thousand of ten thousand hear something in half a minute;
 * the others would take the server for dead, come anew, and keep the loop for longer still.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';

export interface Sender {
  /** Called when it is its turn. */
  write(): void;
}

/** A write costs about a tenth of a millisecond. So many need not look at the clock. */
const SENDERS_A_TURN = 32;
const TURN_MS = 1;
/** Of the time since the last turn. */
const SHARE = 1 / 3;

export class SendingTurns {
  readonly #clock: Clock;
  readonly #waiting = new Set<Sender>();
  /** Of those that are served at once. */
  #left = SENDERS_A_TURN;
  #isResting = false;
  #endedMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** At once, as long as few others have sent in this turn. */
  ask(sender: Sender): void {
    this.#waiting.add(sender);
    this.#serve(0);
  }

  #serve(durationMs: number): void {
    const untilMs = this.#clock.now() + durationMs;
    for (const sender of this.#waiting) {
      if (this.#left <= 0 && this.#clock.now() >= untilMs) break;
      this.#left -= 1;
      this.#waiting.delete(sender);
      sender.write();
    }
    if (this.#isResting || this.#left === SENDERS_A_TURN) return;
    this.#isResting = true;
    this.#endedMs = this.#clock.now();
    this.#clock.setTimer(TURN_MS, () => {
      this.#isResting = false;
      this.#left = SENDERS_A_TURN;
      this.#serve(SHARE * (this.#clock.now() - this.#endedMs));
    });
  }
}
