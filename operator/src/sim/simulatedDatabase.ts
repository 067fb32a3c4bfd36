/**
 * A replica set as the journal sees it: what is read a majority has, a write is acknowledged when a
 * majority has it, may be done though nobody is told, may come late, and is lost with a primary that
 * had it alone.
 */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { documentId, type JournalDocument } from '../quota/entries.ts';
import {
  DuplicateDocumentError,
  type JournalStore,
  type StoredSnapshot,
} from '../quota/journal.ts';
import { LEADERS } from '../quota/leaders.ts';
import type { JournalMark } from '../quota/marks.ts';
import type { Faults } from './faults.ts';
import type { Machine } from './machine.ts';

interface State {
  readonly documents: Map<string, JournalDocument>;
  readonly snapshots: Map<string, KeptSnapshot>;
}

/** As the real one keeps it: what JSON does not hold is lost. */
interface KeptSnapshot {
  readonly sequence: number;
  readonly text: string;
}

/** As the oplog has it: what a write came to at its primary. */
type Step = (state: State) => void;

/** Of one request. Others may see some of the steps done, and only some may ever be. */
interface Written {
  readonly steps: readonly Step[];
  /** It stopped there. */
  readonly error?: Error | undefined;
}

type Write = (primary: State) => Written;

/** A step that no majority has yet. */
interface Uncommitted {
  readonly act: Step;
  readonly acknowledge: (outcome: Error | undefined) => void;
}

/** Of the journal, in the names of faults. */
type JournalWrite = 'Write' | 'Barrier' | 'Snapshot' | 'Prune';

const TIMEOUT_MS = 5_000;
const LATEST_MS = 20_000;
/** A primary that was cut off takes itself for one so long. */
const OLD_PRIMARY_MS = 10_000;
const MAX_BACKUPS = 12;
const MIN_BACKUP_AGE_MS = 3_000;

export class SimulatedDatabase {
  /** What has become of journals, so that one sees what was tried. */
  readonly journals = { snapshots: 0, snapshotsRead: 0, prunedDocuments: 0, restarts: 0 };
  readonly #world: VirtualClock;
  readonly #random: SeededRandom;
  readonly #faults: Faults;
  /** Of the primary, and of a majority. */
  #state: State = emptyState();
  #committed: State = emptyState();
  /** In the order of the oplog. */
  #uncommitted: Uncommitted[] = [];
  #isAway = false;
  /** From before a backup was restored nothing arrives any more. */
  #era = 0;
  #backups: { readonly atMs: number; readonly state: State }[] = [];
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

  backUp(): void {
    const backup = { atMs: this.#world.now(), state: copyOf(this.#committed) };
    this.#backups = [...this.#backups.slice(1 - MAX_BACKUPS), backup];
  }

  /**
   * Goes back to some backup, unless nobody can know: of a journal that has no mark yet, or because
   * a mark is as exact as the status that was written last, and a backup from after that, restored
   * before the next one, is taken for whole (adr/0019).
   */
  restore(marks: ReadonlyMap<string, JournalMark>): boolean {
    const old = this.#backups.filter(({ atMs }) => this.#world.now() - atMs > MIN_BACKUP_AGE_MS);
    const state = old[this.#random.below(old.length)]?.state;
    if (state === undefined) return false;
    const now = lastIn(this.#committed);
    const then = lastIn(state);
    const isUnknown = [...now].some(([host, sequence]) => {
      const kept = then.get(host) ?? 0;
      const { written = 0 } = marks.get(host) ?? {};
      return host !== LEADERS && sequence > kept && written <= kept;
    });
    if (isUnknown) return false;
    this.#era += 1;
    this.#old = undefined;
    for (const { acknowledge } of this.#uncommitted) acknowledge(new Error('the database is gone'));
    this.#uncommitted = [];
    this.#committed = copyOf(state);
    this.#state = copyOf(state);
    return true;
  }

  storeOf(machine: Machine): JournalStore {
    const read = <T>(of: (state: State) => T) => this.#call<T>(machine, { read: of });
    return {
      insert: (document) =>
        this.#crashing(machine, 'Write', ({ documents }) => {
          const { _id } = document;
          if (documents.has(_id)) throw new DuplicateDocumentError(`${_id} exists`);
          const isRestart = document.entries.some(({ kind }) => kind === 'restart');
          return {
            steps: [
              (state) => {
                state.documents.set(_id, document);
                if (isRestart && state === this.#committed) this.journals.restarts += 1;
              },
            ],
          };
        }),
      find: (origin, sequence) =>
        read(({ documents }) => documents.get(documentId(origin, sequence))),
      after: (origin, sequence) => this.#after(read, origin, sequence),
      barrier: () => this.#crashing(machine, 'Barrier', () => ({ steps: [] })),
      origins: () =>
        read(({ documents }) => [...new Set([...documents.values()].map(({ origin }) => origin))]),
      loadSnapshot: async (origin) => {
        const text = await read(({ snapshots }) => snapshots.get(origin)?.text);
        if (text === undefined) return undefined;
        this.journals.snapshotsRead += 1;
        return JSON.parse(text) as StoredSnapshot;
      },
      saveSnapshot: (snapshot) => {
        const { origin, sequence } = snapshot;
        const text = JSON.stringify(snapshot);
        return this.#crashing(machine, 'Snapshot', ({ snapshots }) => {
          const before = snapshots.get(origin);
          if (before !== undefined && before.sequence >= sequence) return { steps: [] };
          return {
            steps: [
              (state) => {
                state.snapshots.set(origin, { sequence, text });
                if (state === this.#committed) this.journals.snapshots += 1;
              },
            ],
          };
        });
      },
      prune: (origin, sequence) => {
        const crashes = this.#faults.happens('leaderCrashesAmidPrune');
        const isCutShort = crashes || this.#faults.happens('pruneBreaksOff');
        return this.#crashing(machine, 'Prune', (primary) => {
          const steps = this.#pruning(primary, origin, sequence);
          if (!isCutShort) return { steps };
          if (crashes) machine.kill();
          const done = this.#random.below(steps.length + 1);
          return { steps: steps.slice(0, done), error: new Error('the operation was interrupted') };
        });
      },
    };
  }

  /** One document after the other, in any order. */
  #pruning({ documents }: State, origin: string, sequence: number): Step[] {
    const old = [...documents.values()].filter(
      (each) => each.origin === origin && each.sequence <= sequence && !each.fence,
    );
    for (let at = old.length - 1; at > 0; at -= 1) {
      const other = this.#random.below(at + 1);
      [old[at], old[other]] = [old[other] as JournalDocument, old[at] as JournalDocument];
    }
    return old.map(({ _id }) => (state) => {
      const isThere = state.documents.delete(_id);
      if (isThere && state === this.#committed) this.journals.prunedDocuments += 1;
    });
  }

  /** In two parts: in between others write and remove. */
  async *#after(
    read: <T>(of: (state: State) => T) => Promise<T>,
    origin: string,
    sequence: number,
  ): AsyncGenerator<JournalDocument, void, undefined> {
    const those = (from: number) =>
      read(({ documents }) =>
        [...documents.values()]
          .filter((each) => each.origin === origin && each.sequence > from)
          .sort((a, b) => a.sequence - b.sequence),
      );
    const all = await those(sequence);
    const first = all.slice(0, this.#random.below(all.length + 1));
    yield* first;
    if (first.length < all.length) yield* await those(first.at(-1)?.sequence ?? sequence);
  }

  /** The process ends before it, with the request on its way or not sent, or when it is done. */
  #crashing(machine: Machine, kind: JournalWrite, write: Write): Promise<void> {
    if (this.#faults.happens(`leaderCrashesBefore${kind}`)) {
      machine.kill();
      if (this.#random.next() < 0.5) return new Promise(() => {});
    }
    const crashes = this.#faults.happens(`leaderCrashesAfter${kind}`);
    return this.#call<undefined>(machine, {
      write: (primary) => {
        const written = write(primary);
        if (crashes) machine.kill();
        return written;
      },
    });
  }

  /** One request: it may get lost, come late, be done without an answer. */
  #call<T>(
    machine: Machine,
    request: { readonly read: (state: State) => T } | { readonly write: Write },
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
    const era = this.#era;
    const isLate = this.#faults.happens('databaseRequestLate');
    const delayMs = isLate ? this.#random.next() * LATEST_MS : this.#delayMs();
    this.#world.setTimer(delayMs, () => {
      try {
        if (this.#isAway || era !== this.#era) throw new Error('the database is away');
        const old = this.#oldFor(machine);
        if ('read' in request) answer({ value: request.read(old ?? this.#committed) });
        else if (old === undefined) this.#write(request.write, answer);
        // The old primary takes writes that no majority will ever have.
      } catch (error) {
        answer(error as Error);
      }
    });
    return promise;
  }

  #write<T>(write: Write, answer: (outcome: { readonly value: T } | Error) => void): void {
    const { steps, error } = write(this.#state);
    for (const step of steps) step(this.#state);
    const uncommitted: Uncommitted[] = steps.map((act) => ({ act, acknowledge: () => {} }));
    // Whatever it came to, it waits for what was written before.
    uncommitted.push({
      act: () => {},
      acknowledge: (outcome) => answer(outcome ?? error ?? { value: undefined as T }),
    });
    this.#uncommitted.push(...uncommitted);
    for (const each of uncommitted) this.#commitLater(each);
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

/** By host: the last document that a journal has come to. */
function lastIn({ documents, snapshots }: State): Map<string, number> {
  const last = new Map([...snapshots].map(([host, { sequence }]) => [host, sequence]));
  for (const { origin, sequence } of documents.values()) {
    last.set(origin, Math.max(sequence, last.get(origin) ?? 0));
  }
  return last;
}

function copyOf({ documents, snapshots }: State): State {
  return { documents: new Map(documents), snapshots: new Map(snapshots) };
}
