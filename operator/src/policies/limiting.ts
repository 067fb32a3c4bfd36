/**
 * Whom an Origin's limits hold back, seen over time: holders ask, get and finish within parts of a
 * second, and people want to read what goes on.
 */
import type { HeldBack, LimitReason } from '../controllers/dataSide.ts';

export interface Limiting {
  /** Those of the last look at which there were any. */
  readonly heldBack: readonly HeldBack[];
  readonly lastMs: number;
  /** When an event told of it last. */
  readonly toldMs: Readonly<Partial<Record<LimitReason, number>>>;
}

export const notLimiting: Limiting = { heldBack: [], lastMs: 0, toldMs: {} };

/** What held back so lately is said to still do. */
const LINGER_MS = 15_000;
/** An event for each reason at most so often: the condition says what is so now. */
const TELL_AGAIN_MS = 600_000;

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
  if (reason === undefined) return { limiting, isDue: false };
  const toldMs = limiting.toldMs[reason];
  if (toldMs !== undefined && nowMs - toldMs < TELL_AGAIN_MS) return { limiting, isDue: false };
  const next = { ...limiting, toldMs: { ...limiting.toldMs, [reason]: nowMs } };
  return { limiting: next, isDue: true };
}
