/**
 * The limits that hold now under each Origin, by its schedule. Around a boundary the lower ones
 * hold, so that no lease outlives the window that it was granted under: as long before it as a
 * lease, and what a lost one has left open, may last, and as our clock and the origin's may differ
 * on both sides.
 */
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { type Limit, lowestWithin, nextChangeAt } from '../policies/schedule.ts';
import { BOUNDARY_MS } from './ledger.ts';
import { LEASE_LIFE_MS, type Limits, limitsOf } from './originBook.ts';

export interface LimitsInForce {
  readonly limits: Limits;
  /** A wall clock that was set back knows nothing of it. */
  readonly sinceMs: number;
  /** When other ones hold, milliseconds since the Unix epoch; infinite: never, as far as is known. */
  readonly untilMs: number;
}

const DEFAULT_CLOSE_AFTER_SECONDS = 120;

/** `nowMs` since the Unix epoch. */
export function limitsInForce(
  defaults: Limit,
  policy: Pick<OriginPolicy, 'limits' | 'closeAfterSeconds' | 'schedule'> | undefined,
  nowMs: number,
): LimitsInForce {
  const base = { ...defaults, ...policy?.limits };
  const closeAfterSeconds = policy?.closeAfterSeconds ?? DEFAULT_CLOSE_AFTER_SECONDS;
  const schedule = policy?.schedule ?? [];
  if (schedule.length === 0) {
    const limits = limitsOf({ limits: base, closeAfterSeconds });
    return { limits, sinceMs: Number.NEGATIVE_INFINITY, untilMs: Number.POSITIVE_INFINITY };
  }
  const aheadMs = LEASE_LIFE_MS + closeAfterSeconds * 1000 + BOUNDARY_MS;
  const lowest = lowestWithin(base, schedule, nowMs - BOUNDARY_MS, nowMs + aheadMs);
  // Either end of that time may reach the next boundary first.
  const leaves = nextChangeAt(base, schedule, nowMs - BOUNDARY_MS);
  const enters = nextChangeAt(base, schedule, nowMs + aheadMs);
  const never = Number.POSITIVE_INFINITY;
  return {
    limits: limitsOf({ limits: { ...base, ...lowest }, closeAfterSeconds }),
    sinceMs: nowMs,
    untilMs: Math.min((leaves ?? never) + BOUNDARY_MS, (enters ?? never) - aheadMs),
  };
}
