/** What a holder knows of its lease; times on one monotonic clock. */
export interface LeaseState {
  /** Version that the server knows we live within. */
  acknowledged: number;
  /** When the grant that is in force was first asked for. */
  requestedAtMs: number;
  ttlMs: number;
  /** When a renewal was last tried. */
  triedAtMs?: number;
  /** So many pieces were unfinished when the server had none to add: asked again after progress. */
  futileAt: number | undefined;
}

export interface ExtentsLeft {
  readonly grantedPieces: number;
  readonly unfinishedPieces: number;
  /** How long what is unfinished lasts at the lease's rate. */
  readonly leftMs: number;
  /** More work than there is would be taken. */
  readonly isMoreWanted: boolean;
  /** The rate that is wanted now, over the one that was asked for last. */
  readonly wantedShare: number;
  /** Time to first byte: what the server was told, and what is measured; undefined: not yet. */
  readonly toldLatencyMs: number | undefined;
  readonly latencyMs: number | undefined;
  /** A smaller grant is kept to and the server does not know. */
  readonly mayAcknowledge: boolean;
  /** The server says that there may be more. */
  readonly isCalled: boolean;
}

/** Covers the way to the control server and one write of its journal, with room. */
const ENOUGH_MS = 300;
/** So much more than was asked for is asked for at once, but no sooner than this after the last. */
const MUCH_MORE = 1.25;
const RAISE_MS = 200;
/** The server calls when somebody came or went: what is free lies idle until we ask. */
const CALLED_MS = 50;
/** What the server takes it for until it is told. */
const DEFAULT_LATENCY_MS = 50;
/** Another latency means another slack, and so another rate: so much of it is worth asking at once. */
const MUCH_LATENCY_MS = 15;

/**
 * Whether to renew: each third of the lease's life, early when extents run short (less than half
 * or less than 0.3 s of them left), a much higher rate is wanted than was asked for or the origin
 * answers much faster or slower than was told, and as soon as a smaller grant is kept to or the
 * server says that there may be more.
 */
export function shouldRenew(
  state: LeaseState & { readonly nowMs: number },
  left: ExtentsLeft,
): boolean {
  const { nowMs, requestedAtMs, ttlMs, triedAtMs } = state;
  const lastMs = Math.max(requestedAtMs, triedAtMs ?? requestedAtMs);
  if (nowMs - lastMs >= ttlMs / 3) return true;
  if (left.mayAcknowledge) return true;
  if (!left.isMoreWanted) return false;
  if (left.isCalled && nowMs - lastMs >= CALLED_MS) return true;
  if (left.wantedShare > MUCH_MORE && nowMs - lastMs >= RAISE_MS) return true;
  if (isLatencyNews(left) && nowMs - lastMs >= RAISE_MS) return true;
  if (left.unfinishedPieces === state.futileAt) return false;
  return left.unfinishedPieces * 2 <= left.grantedPieces || left.leftMs < ENOUGH_MS;
}

function isLatencyNews({ toldLatencyMs = DEFAULT_LATENCY_MS, latencyMs }: ExtentsLeft): boolean {
  if (latencyMs === undefined) return false;
  return Math.abs(latencyMs - toldLatencyMs) >= Math.max(MUCH_LATENCY_MS, toldLatencyMs / 4);
}
