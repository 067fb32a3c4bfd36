/**
 * The status of Origins at the API server, as far as leases need it: the marks of their journals,
 * which stay when the database goes back. Whoever leads writes them as the operator's controller
 * does: over what he has seen, so that who does not know yet that he leads no more is refused.
 */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import type { OriginStatus } from '../api/v1alpha1/origin.ts';
import { isOvertaken, journalStatus, marksOf } from '../policies/originJournals.ts';
import type { JournalMark } from '../quota/marks.ts';
import type { ControlServer } from './controlServer.ts';
import type { Faults } from './faults.ts';
import type { Machine } from './machine.ts';

export interface OriginStatusesDependencies {
  readonly world: VirtualClock;
  readonly random: SeededRandom;
  readonly faults: Faults;
}

interface StoredStatus {
  status: OriginStatus;
  /** Grows with each write. */
  version: number;
}

const TIMEOUT_MS = 5_000;
const LATEST_MS = 3_000;
const EVERY_MS = 2_000;
const NO_STATUS: OriginStatus = { observedGeneration: -1 };

export class OriginStatuses {
  readonly #dependencies: OriginStatusesDependencies;
  /** By name; another Origin of the same name begins with another object. */
  #statuses = new Map<string, StoredStatus>();
  #isAway = false;

  constructor(dependencies: OriginStatusesDependencies) {
    this.#dependencies = dependencies;
  }

  /** Those that are there now. What was written of others is gone. */
  set names(names: readonly string[]) {
    const before = this.#statuses;
    this.#statuses = new Map(
      names.map((name) => [name, before.get(name) ?? { status: NO_STATUS, version: 0 }]),
    );
  }

  away(forMs: number): void {
    this.#isAway = true;
    this.#dependencies.world.setTimer(forMs, () => {
      this.#isAway = false;
    });
  }

  marks(): ReadonlyMap<string, JournalMark> {
    return marksOf([...this.#statuses.values()].map(({ status }) => status));
  }

  load(machine: Machine): Promise<ReadonlyMap<string, JournalMark>> {
    const { promise, resolve, reject } = Promise.withResolvers<ReadonlyMap<string, JournalMark>>();
    const arrived = () => {
      const marks = this.marks();
      return () => resolve(marks);
    };
    this.#request(machine, arrived, reject);
    return promise;
  }

  /** Every two seconds and when it is asked to, while this server leads. */
  follow(server: ControlServer): void {
    const { machine, service } = server;
    /** Of which one is on its way, and whether another one is to follow. */
    const writing = new Map<string, boolean>();
    /** The object as this server wrote it last. */
    const written = new Map<StoredStatus, number>();
    const write = (name: string): void => {
      if (!server.leads) return;
      if (writing.has(name)) {
        writing.set(name, true);
        return;
      }
      writing.set(name, false);
      const done = () => {
        const isAskedAgain = writing.get(name);
        writing.delete(name);
        if (isAskedAgain) write(name);
      };
      this.#write(server, name, written, done);
    };
    service.onShort(write);
    const look = () => {
      for (const name of service.originNames()) write(name);
      machine.setTimer(EVERY_MS, look);
    };
    machine.setTimer(this.#dependencies.random.next() * EVERY_MS, look);
  }

  #write(
    { service, machine }: ControlServer,
    name: string,
    written: Map<StoredStatus, number>,
    done: () => void,
  ): void {
    const journals = service.journalsOf(name);
    const at = this.#statuses.get(name);
    if (journals?.marks === undefined || at === undefined) {
      done();
      return;
    }
    const { marks } = journals;
    const version = written.get(at);
    // What it wrote itself is not from another one who leads.
    if (version === undefined && isOvertaken(journals, at.status)) {
      done();
      return;
    }
    const seen = version ?? at.version;
    const apply = () => {
      const isSame = this.#statuses.get(name) === at && at.version === seen;
      if (!isSame) throw new Error('conflict');
      at.version += 1;
      at.status = { ...at.status, ...journalStatus(journals, at.status) };
      const { version: now } = at;
      return () => {
        written.set(at, now);
        service.marked(marks);
        done();
      };
    };
    const failed = () => {
      // Refused, or nobody knows: it is seen again before the next write.
      written.delete(at);
      done();
    };
    this.#request(machine, apply, failed);
  }

  /** `arrived` acts at the API server, and says what its answer brings about. */
  #request(machine: Machine, arrived: () => () => void, failed: (error: Error) => void): void {
    const { world, random, faults } = this.#dependencies;
    const delayMs = () => 2 + random.next() * 30;
    const away = new Error('the API server did not answer in time');
    let isOver = false;
    const once = (act: () => void) => {
      if (isOver) return;
      isOver = true;
      act();
    };
    machine.setTimer(TIMEOUT_MS, () => once(() => failed(away)));
    if (faults.happens('statusRequestLost')) return;
    const isLate = faults.happens('statusRequestLate');
    world.setTimer(isLate ? random.next() * LATEST_MS : delayMs(), () => {
      if (this.#isAway) return;
      let answered: () => void;
      try {
        answered = arrived();
      } catch (error) {
        answered = () => failed(error as Error);
      }
      if (faults.happens('statusAnswerLost')) return;
      world.setTimer(delayMs(), () => machine.enter(() => once(answered)));
    });
  }
}
