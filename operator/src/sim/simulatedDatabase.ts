/**
 * A replica set as the journal sees it: what is read a majority has, a write is acknowledged when a
 * majority has it, may be
 * done though nobody is told, may come late, and is lost with a primary that had it alone.
 */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { documentId, type JournalDocument } from '../quota/entries.ts';
import {
  DuplicateDocumentError,
  type JournalStore,
  type StoredSnapshot,
} from '../quota/journal.ts';
import type { Faults } from './faults.ts';
import type { Machine } from './machine.ts';

interface State {
  readonly documents: Map<string, JournalDocument>;
  readonly snapshots: Map<string, StoredSnapshot>;
}

/** A write that no majority has yet. */
interface Uncommitted {
  readonly act: (state: State) => void;
  readonly acknowledge: (outcome: Error | undefined) => void;
}

const TIMEOUT_MS = 5_000;
const LATEST_MS = 20_000;
/** A primary that was cut off takes itself for one so long. */
const OLD_PRIMARY_MS = 10_000;

export class SimulatedDatabase {
  readonly #world: VirtualClock;
  readonly #random: SeededRandom;
  readonly #faults: Faults;
  /** Of the primary, and of a majority. */
  #state: State = emptyState();
  readonly #committed: State = emptyState();
  /** In the order of the oplog. */
  #uncommitted: Uncommitted[] = [];
  #isAway = false;
  /** No majority answers: nothing is acknowledged. */
  #isAlone = false;
  #old: { state: State; untilMs: number; seenBy: ReadonlySet<Machine> } | undefined;

  constructor(world: VirtualClock, random: SeededRandom, faults: Faults) {
    this.#world = world;
    this.#random = random;
    this.#faults = faults;
  }

  away(forMs: number): void {
    this.#isAway = true;
    this.#world.setTimer(forMs, () => {
      this.#isAway = false;
    });
  }

  /** The primary loses the others for a while, and then what it wrote alone. */
  alone(forMs: number): void {
    this.#isAlone = true;
    this.#world.setTimer(forMs, () => {
      this.#isAlone = false;
      this.changePrimary(new Set());
    });
  }

  /** What no majority has is lost from some write on; `seenBy` see the old primary for a while. */
  changePrimary(seenBy: ReadonlySet<Machine>): void {
    if (seenBy.size > 0) {
      const untilMs = this.#world.now() + OLD_PRIMARY_MS;
      this.#old = { state: copyOf(this.#committed), untilMs, seenBy };
    }
    const kept = this.#random.below(this.#uncommitted.length + 1);
    for (const { act } of this.#uncommitted.slice(0, kept)) act(this.#committed);
    // Some were replicated and some were not, and nobody is told which.
    for (const { acknowledge } of this.#uncommitted) {
      acknowledge(new Error('the primary has stepped down'));
    }
    this.#uncommitted = [];
    this.#state = copyOf(this.#committed);
  }

  storeOf(machine: Machine): JournalStore {
    const read = <T>(of: (state: State) => T) => this.#call<T>(machine, of, undefined);
    const write = (act: (state: State) => void) => this.#call(machine, act, act);
    return {
      insert: (document) => {
        if (this.#faults.happens('leaderCrashesBeforeWrite')) machine.kill();
        const crashes = this.#faults.happens('leaderCrashesAfterWrite');
        return write(({ documents }) => {
          const { _id } = document;
          if (documents.has(_id)) throw new DuplicateDocumentError(`${_id} exists`);
          documents.set(_id, document);
          if (crashes && machine.isAlive) machine.kill();
        }).then(() => {});
      },
      find: (origin, sequence) =>
        read(({ documents }) => documents.get(documentId(origin, sequence))),
      after: async function* (origin, sequence) {
        yield* await read(({ documents }) =>
          [...documents.values()]
            .filter((each) => each.origin === origin && each.sequence > sequence)
            .sort((a, b) => a.sequence - b.sequence),
        );
      },
      barrier: () => write(() => {}).then(() => {}),
      origins: () =>
        read(({ documents }) => [...new Set([...documents.values()].map(({ origin }) => origin))]),
      loadSnapshot: (origin) => read(({ snapshots }) => snapshots.get(origin)),
      saveSnapshot: (snapshot) =>
        write(({ snapshots }) => {
          const before = snapshots.get(snapshot.origin);
          if (before !== undefined && before.sequence >= snapshot.sequence) return;
          snapshots.set(snapshot.origin, snapshot);
        }).then(() => {}),
      prune: (origin, sequence) =>
        write(({ documents }) => {
          for (const { _id, fence, ...each } of [...documents.values()]) {
            const isOld = each.origin === origin && each.sequence <= sequence;
            if (isOld && !fence) documents.delete(_id);
          }
        }).then(() => {}),
    };
  }

  /** One request: it may get lost, come late, be done without an answer. */
  #call<T>(
    machine: Machine,
    act: (state: State) => T,
    write: ((state: State) => void) | undefined,
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const answer = (outcome: { readonly value: T } | Error) => {
      const delayMs = this.#faults.happens('databaseAnswerLost') ? TIMEOUT_MS : this.#delayMs();
      const isLost = delayMs === TIMEOUT_MS;
      this.#world.setTimer(delayMs, () =>
        machine.enter(() => {
          this.#world.settleSoon();
          if (isLost) reject(new Error('the database did not answer in time'));
          else if (outcome instanceof Error) reject(outcome);
          else resolve(outcome.value);
        }),
      );
    };
    machine.setTimer(TIMEOUT_MS, () => reject(new Error('the database did not answer in time')));
    if (this.#faults.happens('databaseRequestLost')) return promise;
    const isLate = this.#faults.happens('databaseRequestLate');
    const delayMs = isLate ? this.#random.next() * LATEST_MS : this.#delayMs();
    this.#world.setTimer(delayMs, () => {
      try {
        if (this.#isAway) throw new Error('the database is away');
        const old = this.#oldFor(machine);
        if (write === undefined) answer({ value: act(old ?? this.#committed) });
        else if (old === undefined) this.#write(write, answer);
        // The old primary takes writes that no majority will ever have.
      } catch (error) {
        answer(error as Error);
      }
    });
    return promise;
  }

  #write<T>(
    act: (state: State) => void,
    answer: (outcome: { readonly value: T } | Error) => void,
  ): void {
    act(this.#state);
    const write: Uncommitted = {
      act,
      acknowledge: (outcome) => answer(outcome ?? { value: undefined as T }),
    };
    this.#uncommitted.push(write);
    this.#commitLater(write);
  }

  /** In order: what came before has a majority, too. */
  #commitLater(write: Uncommitted): void {
    this.#world.setTimer(this.#delayMs(), () => {
      const at = this.#uncommitted.indexOf(write);
      if (at === -1) return;
      if (this.#isAlone) return this.#commitLater(write);
      for (const each of this.#uncommitted.splice(0, at + 1)) {
        each.act(this.#committed);
        each.acknowledge(undefined);
      }
    });
  }

  #oldFor(machine: Machine): State | undefined {
    const old = this.#old;
    if (old === undefined || !old.seenBy.has(machine)) return undefined;
    return this.#world.now() < old.untilMs ? old.state : undefined;
  }

  #delayMs(): number {
    return 0.2 + this.#random.next() * 3;
  }
}

function emptyState(): State {
  return { documents: new Map(), snapshots: new Map() };
}

function copyOf({ documents, snapshots }: State): State {
  return { documents: new Map(documents), snapshots: new Map(snapshots) };
}
