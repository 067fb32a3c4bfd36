/**
 * Streams take turns to send. What thousands are told at once would otherwise be encrypted and
 * written in one turn of the event loop, seconds in which nothing else is heard: neither an answer
 * about the Lease nor a lease that is to be renewed.
 *
 * Lists of peers come last: those of 10,000 processes are a hundred megabytes, and behind them all
 * others would wait for seconds for their tasks.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';

export interface Sender {
  /** Called when it is its turn: what others should not wait for is not written. */
  write(): void;
  /** Called when nobody else has anything to write but that. */
  writeLists(): void;
}

/** A write costs about a tenth of a millisecond. */
const SENDERS_A_TURN = 32;
const TURN_MS = 1;

export class SendingTurns {
  readonly #clock: Clock;
  readonly #waiting = new Set<Sender>();
  readonly #waitingWithLists = new Set<Sender>();
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

  askForLists(sender: Sender): void {
    this.#waitingWithLists.add(sender);
    this.#serve();
  }

  #serve(): void {
    this.#serveThose(this.#waiting, (sender) => sender.write());
    this.#serveThose(this.#waitingWithLists, (sender) => sender.writeLists());
    if (this.#isResting || this.#left === SENDERS_A_TURN) return;
    this.#isResting = true;
    this.#clock.setTimer(TURN_MS, () => {
      this.#isResting = false;
      this.#left = SENDERS_A_TURN;
      this.#serve();
    });
  }

  #serveThose(waiting: Set<Sender>, write: (sender: Sender) => void): void {
    for (const sender of waiting) {
      if (this.#left === 0) return;
      this.#left -= 1;
      waiting.delete(sender);
      write(sender);
    }
  }
}
