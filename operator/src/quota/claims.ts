/** Who wants a part of one origin, and how much, as far as is known now. PURE. */
import type { Claim } from './allocate.ts';
import type { LeaseRecord } from './ledger.ts';

/** Who waits asks again within this time, or does not want any more. */
const WAITING_MS = 6_000;

export interface Want extends Omit<Claim, 'id'> {
  readonly holder: string;
  readonly uid: string;
  readonly atMs: number;
}

/** One claim for each (holder, distribution): it may have one lease after the other. */
export class Claims {
  readonly #wants = new Map<string, Want>();
  #timeToFirstByteMs: number | undefined;

  /** Who has not measured yet how long the origin takes is helped out by whoever has. */
  set(want: Want): Claim {
    this.#timeToFirstByteMs = want.timeToFirstByteMs ?? this.#timeToFirstByteMs;
    const id = claimId(want.holder, want.uid);
    const known = { ...want, timeToFirstByteMs: this.#timeToFirstByteMs };
    this.#wants.set(id, known);
    return { ...known, id };
  }

  delete(holder: string, uid: string): void {
    this.#wants.delete(claimId(holder, uid));
  }

  /** Those that hold a lease, and those that asked for one lately. */
  active(leases: Iterable<LeaseRecord>, nowMs: number): Claim[] {
    const holding = new Set<string>();
    for (const { holder, uid, expired } of leases) {
      if (!expired) holding.add(claimId(holder, uid));
    }
    const claims: Claim[] = [];
    for (const [id, want] of this.#wants) {
      const isActive = holding.has(id) || nowMs - want.atMs < WAITING_MS;
      if (isActive) claims.push({ ...want, id });
      else this.#wants.delete(id);
    }
    return claims;
  }
}

export function claimId(holder: string, uid: string): string {
  return `${holder} ${uid}`;
}
