/**
 * Whom an Origin's limits hold back, seen over time: holders ask, get and finish within parts of a
 * second, and people want to read what goes on.
 */
import type { HeldBack, LimitReason } from '../controllers/dataSide.ts';
import { type Told, tell } from './toldEvents.ts';

export interface Limiting {
  /** Those of the last look at which there were any. */
  readonly heldBack: readonly HeldBack[];
  readonly lastMs: number;
  readonly toldMs: Told<LimitReason>;
}

export const notLimiting: Limiting = { heldBack: [], lastMs: 0, toldMs: {} };

/** What held back so lately is said to still do. */
const LINGER_MS = 15_000;

export function seeLimiting(
  before: Limiting,
  heldBack: readonly HeldBack[],
  nowMs: number,
): Limiting {
  if (heldBack.length > 0) return { ...before, heldBack, lastMs: nowMs };
  return nowMs - before.lastMs < LINGER_MS ? before : { ...before, heldBack: [] };
}

/** Whether an event is due; `limiting` is to be kept then. */
export function tellLimiting(
  limiting: Limiting,
  reason: LimitReason | undefined,
  nowMs: number,
): { readonly limiting: Limiting; readonly isDue: boolean } {
  const { told, isDue } = tell(limiting.toldMs, reason, nowMs);
  return { limiting: { ...limiting, toldMs: told }, isDue };
}
