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
  readonly #wants = new Map<string, Want>();
  #timeToFirstByteMs: number | undefined;

  /** Who has not measured yet how long the origin takes is helped out by whoever has. */
  set(want: Want, isHolding: boolean): PurposedClaim {
    this.#timeToFirstByteMs = want.timeToFirstByteMs ?? this.#timeToFirstByteMs;
    const id = claimId(want.holder, want.uid);
    const known = { ...want, timeToFirstByteMs: this.#timeToFirstByteMs };
    this.#wants.set(id, known);
    return { ...known, id, isHolding };
  }

  delete(holder: string, uid: string): void {
    this.#wants.delete(claimId(holder, uid));
  }

  /** The process is gone. */
  forget(holder: string): void {
    for (const [id, want] of this.#wants) if (want.holder === holder) this.#wants.delete(id);
  }

  /** Those that hold a lease, and those that asked for one lately; who asked first is first. */
  active(leases: Iterable<LeaseRecord>, nowMs: number): ActiveClaim[] {
    const holding = new Set<string>();
    for (const { holder, uid, expired } of leases) {
      if (!expired) holding.add(claimId(holder, uid));
    }
    const claims: ActiveClaim[] = [];
    for (const [id, want] of this.#wants) {
      const isHolding = holding.has(id);
      const isWaiting = nowMs - want.atMs < WAITING_MS[want.purpose];
      if (isHolding || isWaiting) claims.push({ ...want, id, isHolding });
      else this.#wants.delete(id);
    }
    return claims;
  }
}

export function claimId(holder: string, uid: string): string {
  return `${holder} ${uid}`;
}
