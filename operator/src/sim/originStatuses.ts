/**
 * The status of Origins at the API server, as far as leases need it: the marks of their journals,
 * which stay when the database goes back. Who leads writes it as the operator's controller does;
 * nobody else can, for who does not know that he leads no more has lost the API server.
 */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import type { OriginStatus } from '../api/v1alpha1/origin.ts';
import { journalStatus, marksOf } from '../policies/originJournals.ts';
import type { JournalMark } from '../quota/marks.ts';
import type { ControlServer } from './controlServer.ts';
import type { Faults } from './faults.ts';
import type { Machine } from './machine.ts';

export interface OriginStatusesDependencies {
  readonly world: VirtualClock;
  readonly random: SeededRandom;
  readonly faults: Faults;
  readonly leader: () => ControlServer | undefined;
}

const TIMEOUT_MS = 5_000;
const LATEST_MS = 3_000;
const EVERY_MS = 2_000;
const NO_STATUS: OriginStatus = { observedGeneration: -1 };

export class OriginStatuses {
  readonly #dependencies: OriginStatusesDependencies;
  /** By name; another Origin of the same name begins with another object. */
  #statuses = new Map<string, { status: OriginStatus }>();
  #isAway = false;

  constructor(dependencies: OriginStatusesDependencies) {
    this.#dependencies = dependencies;
  }

  /** Those that are there now. What was written of others is gone. */
  set names(names: readonly string[]) {
    const before = this.#statuses;
    this.#statuses = new Map(
      names.map((name) => [name, before.get(name) ?? { status: NO_STATUS }]),
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
      this.#write(server, name, done);
    };
    service.onShort(write);
    const look = () => {
      for (const name of service.originNames()) write(name);
      machine.setTimer(EVERY_MS, look);
    };
    machine.setTimer(this.#dependencies.random.next() * EVERY_MS, look);
  }

  #write(server: ControlServer, name: string, done: () => void): void {
    const { service, machine } = server;
    const journals = service.journalsOf(name);
    const at = this.#statuses.get(name);
    if (journals?.marks === undefined || at === undefined) {
      done();
      return;
    }
    const { marks } = journals;
    const apply = () => {
      const isThere = this.#statuses.get(name) === at;
      if (!isThere || this.#dependencies.leader() !== server) throw new Error('conflict');
      at.status = { ...at.status, ...journalStatus(journals, at.status) };
      return () => {
        service.marked(marks);
        done();
      };
    };
    this.#request(machine, apply, done);
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
