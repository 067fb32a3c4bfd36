/**
 * Streams take turns to send. What thousands are told at once would otherwise be encrypted and
 * written in one turn of the event loop, seconds in which nothing else is heard: neither an answer
 * about the Lease nor a lease that is to be renewed.
 *
 * What is said of no distribution, answers to reports above all, has turns of its own, for whoever
 * waits for one gives up. Distributions take turns, too: the tasks of one for 10,000 nodes are seconds
 * of work, in which the first nodes of all others begin. Lists of peers, a hundred megabytes for as
 * many nodes, have few turns while others wait.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';

export interface Sender {
  /** Called when it is its turn: all that waits, but lists. */
  write(): void;
  writeLists(): void;
}

/** A write costs about a tenth of a millisecond. */
const SENDERS_A_TURN = 32;
const TURN_MS = 1;
/** Whose turn it is, again and again; who does not wait is passed over. */
const LANES = [
  'answers',
  'tasks',
  'answers',
  'tasks',
  'answers',
  'tasks',
  'tasks',
  'lists',
] as const;

export class SendingTurns {
  readonly #clock: Clock;
  readonly #answers = new Set<Sender>();
  /** By the distribution of which they have something to say; whose turn is next is first. */
  readonly #tasks = new Map<string, Set<Sender>>();
  /** Of which distributions; in one turn it says all of it. */
  readonly #uids = new Map<Sender, Set<string>>();
  readonly #lists = new Set<Sender>();
  #lane = 0;
  #left = SENDERS_A_TURN;
  #isResting = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** At once, as long as few others have sent in this turn. `uid`: of what it says; or nothing. */
  ask(sender: Sender, uid: string): void {
    if (uid === '') this.#answers.add(sender);
    else {
      addTo(this.#tasks, uid, sender);
      addTo(this.#uids, sender, uid);
    }
    this.#serve();
  }

  askForLists(sender: Sender): void {
    this.#lists.add(sender);
    this.#serve();
  }

  #serve(): void {
    while (this.#left > 0 && this.#serveNext()) this.#left -= 1;
    if (this.#isResting || this.#left === SENDERS_A_TURN) return;
    this.#isResting = true;
    this.#clock.setTimer(TURN_MS, () => {
      this.#isResting = false;
      this.#left = SENDERS_A_TURN;
      this.#serve();
    });
  }

  /** Answers whether anybody waited. */
  #serveNext(): boolean {
    for (let passed = 0; passed < LANES.length; passed += 1) {
      const lane = LANES[this.#lane % LANES.length];
      this.#lane += 1;
      if (lane === 'lists') {
        const sender = first(this.#lists);
        if (sender === undefined) continue;
        this.#served(sender);
        this.#lists.delete(sender);
        sender.writeLists();
      } else {
        const sender = lane === 'answers' ? first(this.#answers) : this.#nextWithTask();
        if (sender === undefined) continue;
        this.#served(sender);
        sender.write();
      }
      return true;
    }
    return false;
  }

  #nextWithTask(): Sender | undefined {
    for (const [uid, senders] of this.#tasks) {
      // Behind the others.
      this.#tasks.delete(uid);
      this.#tasks.set(uid, senders);
      return first(senders);
    }
    return undefined;
  }

  /** It says all that it has to say, of whatever. */
  #served(sender: Sender): void {
    this.#answers.delete(sender);
    for (const uid of this.#uids.get(sender) ?? []) {
      const senders = this.#tasks.get(uid);
      senders?.delete(sender);
      if (senders?.size === 0) this.#tasks.delete(uid);
    }
    this.#uids.delete(sender);
  }
}

function first<T>(all: ReadonlySet<T>): T | undefined {
  const [one] = all;
  return one;
}

function addTo<K, V>(all: Map<K, Set<V>>, key: K, value: V): void {
  const some = all.get(key);
  if (some === undefined) all.set(key, new Set([value]));
  else some.add(value);
}
