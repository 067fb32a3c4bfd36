/**
 * Calls pullers whose leases are far from their share, when somebody has come, gone or come down:
 * they would hear of it at their next renewal, and what is free would lie idle until then.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { LeaseRecord } from './ledger.ts';
import type { HostGroup } from './originBooks.ts';

export interface PullerCallsDependencies {
  readonly clock: Clock;
  /** The farthest first. */
  readonly uneven: (group: HostGroup) => readonly LeaseRecord[];
  readonly ask: (holder: string, uid: string, epoch: number) => void;
}

/** A machine that is lost had many leases: who pulls is told of all of them at once. */
const GATHER_MS = 10;
/** At once; the others hear of it when they renew. */
const MAX_CALLS = 32;

export class PullerCalls {
  readonly #dependencies: PullerCallsDependencies;
  /** By key. */
  readonly #groups = new Map<string, () => HostGroup>();
  #timer: Timer | undefined;

  constructor(dependencies: PullerCallsDependencies) {
    this.#dependencies = dependencies;
  }

  /** Something has changed at these hosts; `group` is asked again when it is time. */
  soon(key: string, group: () => HostGroup): void {
    this.#groups.set(key, group);
    this.#timer ??= this.#dependencies.clock.setTimer(GATHER_MS, () => this.#call());
  }

  clear(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#groups.clear();
  }

  #call(): void {
    const groups = [...this.#groups.values()];
    this.clear();
    for (const group of groups) {
      for (const { holder, uid, epoch } of this.#dependencies.uneven(group()).slice(0, MAX_CALLS)) {
        this.#dependencies.ask(holder, uid, epoch);
      }
    }
  }
}
