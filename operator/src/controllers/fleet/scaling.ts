/**
 * How many relays each domain keeps over time: more at once, fewer only after a while without
 * need, since a relay that goes takes its cache with it.
 */
import type { RelayNeed } from '../../policies/relays.ts';

interface Kept {
  need: RelayNeed;
  /** When so many were last needed. */
  neededMs: number;
}

export class RelayScaling {
  /** How long relays stay that nobody needs. */
  readonly #idleMs: number;
  readonly #kept = new Map<string, Kept>();

  constructor(idleMs: number) {
    this.#idleMs = idleMs;
  }

  /** A Deployment of an earlier leader: it stays as long as any other. */
  adopt(need: RelayNeed, nowMs: number): void {
    const key = keyOf(need);
    if (!this.#kept.has(key)) this.#kept.set(key, { need, neededMs: nowMs });
  }

  /** What is to run now, and when to look again because something will have been idle too long. */
  decide(
    needs: readonly RelayNeed[],
    nowMs: number,
  ): { readonly run: RelayNeed[]; readonly againInMs: number | undefined } {
    const wanted = new Map(needs.map((need) => [keyOf(need), need]));
    for (const [key, need] of wanted) {
      const kept = this.#kept.get(key);
      if (kept === undefined || need.replicas >= kept.need.replicas) {
        this.#kept.set(key, { need, neededMs: nowMs });
      }
    }
    let againInMs: number | undefined;
    for (const [key, kept] of this.#kept) {
      const idleMs = nowMs - kept.neededMs;
      if (idleMs === 0) continue;
      if (idleMs < this.#idleMs) {
        againInMs = Math.min(againInMs ?? Number.POSITIVE_INFINITY, this.#idleMs - idleMs);
        continue;
      }
      const need = wanted.get(key);
      if (need === undefined) this.#kept.delete(key);
      else this.#kept.set(key, { need, neededMs: nowMs });
    }
    return { run: [...this.#kept.values()].map((kept) => kept.need), againInMs };
  }
}

function keyOf({ topologyKey, domain, dedicatedTo = '' }: RelayNeed): string {
  return `${topologyKey}\n${domain}\n${dedicatedTo}`;
}
