/**
 * Streams take turns to send. What thousands are told at once would otherwise be encrypted and
 * written in one turn of the event loop, seconds in which nothing else is heard: neither an answer
 * about the Lease nor a lease that is to be renewed.
 *
 * Distributions take turns, too: the tasks of one for 10,000 nodes are seconds of work, in which the
 * first nodes of all others begin. Lists of peers come last: those of 10,000 processes are a hundred
 * megabytes.
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
  /** By the distribution of which it has something to say; whose turn is next is first. */
  readonly #waiting = new Map<string, Set<Sender>>();
  readonly #waitingWithLists = new Set<Sender>();
  #left = SENDERS_A_TURN;
  #isResting = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** At once, as long as few others have sent in this turn. */
  ask(sender: Sender, uid: string): void {
    const senders = this.#waiting.get(uid) ?? new Set();
    this.#waiting.set(uid, senders.add(sender));
    this.#serve();
  }

  askForLists(sender: Sender): void {
    this.#waitingWithLists.add(sender);
    this.#serve();
  }

  #serve(): void {
    for (const [uid, senders] of this.#waiting) {
      if (this.#left === 0) break;
      this.#waiting.delete(uid);
      for (const sender of senders) {
        senders.delete(sender);
        // Behind the others, and met by this loop again.
        if (senders.size > 0) this.#waiting.set(uid, senders);
        this.#left -= 1;
        sender.write();
        break;
      }
    }
    for (const sender of this.#waitingWithLists) {
      if (this.#left === 0) break;
      this.#left -= 1;
      this.#waitingWithLists.delete(sender);
      sender.writeLists();
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
