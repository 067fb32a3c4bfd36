/**
 * Agents that pull in the place of relays. Without a relay nobody pulls, and nobody signs the hashes
 * without which nothing else could be verified. PURE: no time of its own.
 */
import { RELAYS_MISSING_MS } from '../policies/relaysAvailable.ts';
import type { ProcessInfo } from './work.ts';

interface Member {
  readonly process: ProcessInfo;
  readonly domain: string;
}

/** One a domain, and no more than relays would share an origin's connections. */
const MAX_STAND_INS = 8;

export class StandIns {
  /** Since when it has no relay. */
  #sinceMs: number | undefined;
  #ids: ReadonlySet<string> = new Set();

  /** `isNeeded`: no node has the file yet. Answers who pulls, of the members that are connected. */
  choose(members: readonly Member[], isNeeded: boolean, nowMs: number): ReadonlySet<string> {
    if (!isNeeded || members.some(({ process }) => process.kind === 'relay')) {
      this.#sinceMs = undefined;
      this.#ids = new Set();
      return this.#ids;
    }
    this.#sinceMs ??= nowMs;
    if (nowMs - this.#sinceMs < RELAYS_MISSING_MS) return this.#ids;
    const chosen = new Map<string, string>();
    // Who pulls goes on: what it has begun another one would have to begin again.
    const inOrder = [...members].sort(
      (a, b) =>
        Number(this.#ids.has(b.process.id)) - Number(this.#ids.has(a.process.id)) ||
        (a.process.node < b.process.node ? -1 : 1),
    );
    for (const { process, domain } of inOrder) {
      if (chosen.size < MAX_STAND_INS && !chosen.has(domain)) chosen.set(domain, process.id);
    }
    this.#ids = new Set(chosen.values());
    return this.#ids;
  }

  has(processId: string): boolean {
    return this.#ids.has(processId);
  }

  /** Whether time alone may bring another answer. */
  get isWaiting(): boolean {
    return this.#sinceMs !== undefined && this.#ids.size === 0;
  }
}
