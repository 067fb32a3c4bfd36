/**
 * Distributions that live and have nothing for an agent to do now, so that it does not take their files
 * for those of nobody: docs/adr/0040.
 */
import { MAX_RESTING } from '@sluice/protocol/messages.ts';
import type { FleetProcess, WorkStream } from './fleetView.ts';

export class Resting {
  /** By distribution; of most there are none. */
  readonly #processes = new Map<string, readonly FleetProcess[]>();
  /** The other way round, as made last; undefined when something has changed. */
  #uids: ReadonlyMap<FleetProcess, readonly string[]> | undefined;
  /** What was said over a stream. */
  #said = new WeakMap<WorkStream, readonly string[]>();

  set(uid: string, processes: readonly FleetProcess[]): void {
    const before = this.#processes.get(uid) ?? [];
    if (areSame(before, processes)) return;
    if (processes.length === 0) this.#processes.delete(uid);
    else this.#processes.set(uid, processes);
    this.#uids = undefined;
  }

  clear(): void {
    this.#processes.clear();
    this.#uids = undefined;
    this.#said = new WeakMap();
  }

  /** Undefined: what was said over the stream holds; where nothing was, that there are none. */
  newsFor(process: FleetProcess, stream: WorkStream): string[] | undefined {
    this.#uids ??= this.#byProcess();
    const uids = this.#uids.get(process) ?? [];
    if (areSame(this.#said.get(stream) ?? [], uids)) return undefined;
    this.#said.set(stream, uids);
    return [...uids];
  }

  #byProcess(): ReadonlyMap<FleetProcess, readonly string[]> {
    const uids = new Map<FleetProcess, string[]>();
    for (const uid of [...this.#processes.keys()].sort()) {
      for (const process of this.#processes.get(uid) ?? []) {
        const own = uids.get(process) ?? [];
        uids.set(process, own);
        if (own.length < MAX_RESTING) own.push(uid);
      }
    }
    return uids;
  }
}

function areSame<T>(some: readonly T[], others: readonly T[]): boolean {
  return some.length === others.length && some.every((each, at) => each === others[at]);
}
