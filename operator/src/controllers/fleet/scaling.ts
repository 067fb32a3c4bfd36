/**
 * How many relays each domain keeps over time: more at once, fewer only after a while without
 * need, since a relay that goes takes its cache with it.
 */
import { type RelayNeed, relaysKey } from '../../policies/relays.ts';

/** Relays of one domain. */
interface Kept {
  /** With how many of them run. */
  need: RelayNeed;
  /** All that run, when it was last looked at. */
  isNeeded: boolean;
  /** Since when fewer would do; of no meaning while all are needed. */
  idleSinceMs: number;
}

export class RelayScaling {
  /** How long relays stay that nobody needs. */
  readonly #idleMs: number;
  /** Those that are needed are fewer. */
  readonly #maxRelays: number;
  readonly #kept = new Map<string, Kept>();

  constructor(idleMs: number, maxRelays: number) {
    this.#idleMs = idleMs;
    this.#maxRelays = maxRelays;
  }

  /** A Deployment of an earlier leader: it stays as long as any other. */
  adopt(need: RelayNeed, nowMs: number): void {
    const key = relaysKey(need);
    if (this.#kept.has(key)) return;
    this.#kept.set(key, { need, isNeeded: false, idleSinceMs: nowMs });
  }

  /** What is to run now, and when to look again because something will have been idle too long. */
  decide(
    needs: readonly RelayNeed[],
    nowMs: number,
  ): { readonly run: RelayNeed[]; readonly againInMs: number | undefined } {
    const wanted = new Map(needs.map((need) => [relaysKey(need), need]));
    for (const [key, need] of wanted) {
      const kept = this.#kept.get(key);
      if (kept === undefined || need.replicas >= kept.need.replicas) {
        this.#kept.set(key, { need, isNeeded: true, idleSinceMs: nowMs });
      }
    }
    let againInMs: number | undefined;
    for (const [key, kept] of this.#kept) {
      const need = wanted.get(key);
      if (need === kept.need) continue;
      // They may have been needed for long without a look.
      if (kept.isNeeded) kept.idleSinceMs = nowMs;
      kept.isNeeded = false;
      const leftMs = this.#idleMs - (nowMs - kept.idleSinceMs);
      if (leftMs > 0) againInMs = Math.min(againInMs ?? Number.POSITIVE_INFINITY, leftMs);
      else if (need === undefined) this.#kept.delete(key);
      else this.#kept.set(key, { need, isNeeded: true, idleSinceMs: nowMs });
    }
    this.#makeRoom(wanted);
    return { run: [...this.#kept.values()].map((kept) => kept.need), againInMs };
  }

  /** Idle ones make way for those that are needed, which have been idle for longest first. */
  #makeRoom(wanted: ReadonlyMap<string, RelayNeed>): void {
    let over = -this.#maxRelays;
    for (const { need } of this.#kept.values()) over += need.replicas;
    const idle = [...this.#kept].filter(([, { isNeeded }]) => !isNeeded);
    for (const [key, kept] of idle.sort(([, a], [, b]) => a.idleSinceMs - b.idleSinceMs)) {
      if (over <= 0) return;
      const need = wanted.get(key);
      over -= kept.need.replicas - (need?.replicas ?? 0);
      if (need === undefined) this.#kept.delete(key);
      else this.#kept.set(key, { need, isNeeded: true, idleSinceMs: kept.idleSinceMs });
    }
  }
}
