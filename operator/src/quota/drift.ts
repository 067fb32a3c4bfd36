/** What clocks that drift apart cost. PURE. */

/** How far a clock is off true time at most, as a share: what holders keep to (leasePacer.ts). */
export const CLOCK_DRIFT = 0.001;
/** What a message may wait in our own queues. */
const QUEUES_MS = 80;
/** What a lost holder had sent is on its way. */
const PACKETS_MS = 500;

/** How much longer than its time to live a lease counts: the holder's clock is slow, ours is fast. */
export function expiryMarginMs(ttlMs: number, drift: number): number {
  return Math.round((ttlMs * 2 * drift) / (1 - drift)) + QUEUES_MS;
}

/** The same for what only the origin can end, by its own clock. */
export function closedAfterMs(closeAfterMs: number, drift: number): number {
  return closeAfterMs * (1 + (2 * drift) / (1 - drift)) + PACKETS_MS;
}

/** A second of the origin's, by a clock of ours that is fast. */
export function secondMs(drift: number): number {
  return 1_000 * (1 + (2 * drift) / (1 - drift)) + QUEUES_MS;
}

/** Of a limit, what may be granted to holders whose clocks are faster than they know. */
export function grantableShare(drift: number): number {
  return Math.min(1, 1 / ((1 - CLOCK_DRIFT) * (1 + drift)));
}
