/** Who wants a part of one origin, and how much, as far as is known now. PURE. */
import type { PurposedClaim } from './allocate.ts';
import type { LeaseRecord } from './ledger.ts';

/** Who waits asks again within this time, or does not want any more. Nodes wait to be called. */
const WAITING_MS = { pull: 6_000, topUp: 25_000 } as const;

export interface Want extends Omit<PurposedClaim, 'id' | 'isHolding'> {
  readonly holder: string;
  readonly uid: string;
  readonly atMs: number;
}

export interface ActiveClaim extends PurposedClaim, Want {}

/** One claim for each (holder, distribution): it may have one lease after the other. */
export class Claims {
  /** By purpose and claim; who asked first is first. */
  readonly #wants = { pull: new Map<string, Want>(), topUp: new Map<string, Want>() };
  #timeToFirstByteMs: number | undefined;

  /** Who has not measured yet how long the origin takes is helped out by whoever has. */
  set(want: Want, isHolding: boolean): PurposedClaim {
    this.#timeToFirstByteMs = want.timeToFirstByteMs ?? this.#timeToFirstByteMs;
    const id = claimId(want.holder, want.uid);
    const known = { ...want, timeToFirstByteMs: this.#timeToFirstByteMs };
    this.#wants[want.purpose === 'pull' ? 'topUp' : 'pull'].delete(id);
    this.#wants[want.purpose].set(id, known);
    return { ...known, id, isHolding };
  }

  delete(holder: string, uid: string): void {
    for (const wants of this.#all()) wants.delete(claimId(holder, uid));
  }

  /** It waits no more, unless it has asked again. */
  lapse(holder: string, uid: string, nowMs: number): void {
    const id = claimId(holder, uid);
    for (const wants of this.#all()) {
      const want = wants.get(id);
      if (want !== undefined && isLapsed(want, nowMs)) wants.delete(id);
    }
  }

  /** The process is gone. */
  forget(holder: string): void {
    this.#deleteAll((want) => want.holder === holder);
  }

  /** The distribution is gone. */
  remove(uid: string): void {
    this.#deleteAll((want) => want.uid === uid);
  }

  /**
   * Those that hold a lease, and those that asked for one lately; who asked first is first. Of nodes
   * that wait `mostWaiting`: there may be ten thousand of them, and those in turn are asked for at
   * each request.
   */
  active(
    leases: Iterable<LeaseRecord>,
    nowMs: number,
    mostWaiting = Number.POSITIVE_INFINITY,
  ): ActiveClaim[] {
    const { pull, topUp } = this.#wants;
    const holding = new Set<string>();
    for (const { holder, uid, expired } of leases) {
      if (!expired) holding.add(claimId(holder, uid));
    }
    const claims: ActiveClaim[] = [];
    for (const [id, want] of pull) {
      const isHolding = holding.has(id);
      if (isHolding || !isLapsed(want, nowMs)) claims.push({ ...want, id, isHolding });
      else pull.delete(id);
    }
    // Holders are near the front, for they were the first in turn.
    let holders = [...holding].filter((id) => topUp.has(id)).length;
    let waiting = 0;
    for (const [id, want] of topUp) {
      if (waiting >= mostWaiting && holders === 0) break;
      const isHolding = holding.has(id);
      if (!isHolding && isLapsed(want, nowMs)) {
        topUp.delete(id);
        continue;
      }
      if (isHolding) holders -= 1;
      else waiting += 1;
      if (isHolding || waiting <= mostWaiting) claims.push({ ...want, id, isHolding });
    }
    return claims;
  }

  #all() {
    return [this.#wants.pull, this.#wants.topUp];
  }

  #deleteAll(isMeant: (want: Want) => boolean): void {
    for (const wants of this.#all()) {
      for (const [id, want] of wants) if (isMeant(want)) wants.delete(id);
    }
  }
}

function isLapsed({ purpose, atMs }: Want, nowMs: number): boolean {
  return nowMs - atMs >= WAITING_MS[purpose];
}

export function claimId(holder: string, uid: string): string {
  return `${holder} ${uid}`;
}
