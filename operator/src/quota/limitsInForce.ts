/**
 * The limits that hold now under each Origin, by its schedule. Around a boundary the lower ones
 * hold, so that no lease outlives the window that it was granted under: as long before it as a
 * lease, and what a lost one has left open, may last, and as our clock and the origin's may differ
 * on both sides.
 */
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { type Limit, lowestWithin, nextChangeAt } from '../policies/schedule.ts';
import { BOUNDARY_MS } from './ledger.ts';
import { type Limits, limitsOf } from './limits.ts';
import { LEASE_LIFE_MS } from './originBook.ts';

export interface LimitsInForce {
  readonly limits: Limits;
  /** A wall clock that was set back knows nothing of it. */
  readonly sinceMs: number;
  /** When other ones hold, milliseconds since the Unix epoch; infinite: never, as far as is known. */
  readonly untilMs: number;
}

const DEFAULT_CLOSE_AFTER_SECONDS = 120;
/** Looked at again then, if nothing has changed. */
const MAX_EDGES = 8;

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
  const lowestAt = (ms: number) => lowestWithin(base, schedule, ms - BOUNDARY_MS, ms + aheadMs);
  const nextEdge = (ms: number) => {
    // Either end of that time may reach the next boundary first.
    const leaves = nextChangeAt(base, schedule, ms - BOUNDARY_MS) ?? Number.POSITIVE_INFINITY;
    const enters = nextChangeAt(base, schedule, ms + aheadMs) ?? Number.POSITIVE_INFINITY;
    return Math.min(leaves + BOUNDARY_MS, enters - aheadMs);
  };
  const lowest = lowestAt(nowMs);
  let untilMs = nextEdge(nowMs);
  // A window that is entered changes nothing when its limits are the higher ones.
  for (let edges = 1; edges < MAX_EDGES && Number.isFinite(untilMs); edges += 1) {
    if (!isSame(lowestAt(untilMs), lowest)) break;
    untilMs = nextEdge(untilMs);
  }
  const limits = limitsOf({ limits: { ...base, ...lowest }, closeAfterSeconds });
  return { limits, sinceMs: nowMs, untilMs };
}

function isSame(one: Limit, other: Limit): boolean {
  return (
    one.maxConnections === other.maxConnections &&
    one.maxBandwidthBytesPerSecond === other.maxBandwidthBytesPerSecond
  );
}
