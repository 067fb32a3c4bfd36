/**
 * Streams take turns to send. What thousands are told at once would otherwise be encrypted and
 * written in one turn of the event loop, seconds in which nothing else is heard: neither an answer
 * about the Lease nor a lease that is to be renewed.
 *
 * Between two turns the event loop looks at all connections once. A timer would not do: one that is
 * due again when its turn ends runs before anything is read. And a turn is as long as the one before
 * is ago. Where others keep the loop for half a second at a time, turns of one length would
 * let two thousand of ten thousand hear something in half a minute; the rest would take the server
 * for dead, come anew, and keep the loop for longer still. But no longer than MAX_TURN_MS: what is
 * written costs as much again when the kernel has taken it, and is then the time of others.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';

export interface Sender {
  /** Called when it is its turn. What it writes it writes at once, so that the turn has cost that. */
  write(): void;
}

export interface SendingTurnsDependencies {
  readonly clock: Pick<Clock, 'now'>;
  /** Calls back when the event loop has looked at all connections. Absent: setImmediate. */
  readonly afterLook?: (callback: () => void) => void;
}

/** A write costs about a tenth of a millisecond. So many need not look at the clock. */
const SENDERS_A_TURN = 32;
const MAX_TURN_MS = 500;

export class SendingTurns {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #afterLook: (callback: () => void) => void;
  readonly #waiting = new Set<Sender>();
  /** Of those that are served at once. */
  #left = SENDERS_A_TURN;
  #isResting = false;
  #endedMs = 0;

  constructor({ clock, afterLook = setImmediate }: SendingTurnsDependencies) {
    this.#clock = clock;
    this.#afterLook = afterLook;
  }

  /** At once, as long as few others have sent in this turn. */
  ask(sender: Sender): void {
    this.#waiting.add(sender);
    this.#serve(0);
  }

  #serve(durationMs: number): void {
    const untilMs = this.#clock.now() + durationMs;
    const left = this.#left;
    for (const sender of this.#waiting) {
      if (this.#left <= 0 && this.#clock.now() >= untilMs) break;
      this.#left -= 1;
      this.#waiting.delete(sender);
      sender.write();
    }
    if (this.#left === left) return;
    this.#endedMs = this.#clock.now();
    if (this.#isResting) return;
    this.#isResting = true;
    this.#afterLook(() => {
      this.#isResting = false;
      this.#left = SENDERS_A_TURN;
      this.#serve(Math.min(MAX_TURN_MS, this.#clock.now() - this.#endedMs));
    });
  }
}
