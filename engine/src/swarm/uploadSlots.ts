/** A peer that may be served, as far as that decides who is. */
export interface SlotCandidate {
  readonly number: number;
  readonly interested: boolean;
  /** When it was let in; undefined: it waits. */
  readonly servedSinceMs: number | undefined;
}

/** Served at once: enough to fill any uplink, few enough that each gets on. */
const MAX_SLOTS = 32;
/** When others wait, a turn is not taken away before so long: less would be all choking. */
const MIN_TURN_MS = 10_000;

/**
 * Who of the stock clients is served: all that are interested while there are slots, else in turns
 * of at least ten seconds, longest served out first. What they give back plays no part. Pure.
 */
export function chooseServed(candidates: readonly SlotCandidate[], nowMs: number): Set<number> {
  const interested = candidates.filter(({ interested }) => interested);
  const holders = interested
    .filter(({ servedSinceMs }) => servedSinceMs !== undefined)
    .sort((a, b) => (b.servedSinceMs as number) - (a.servedSinceMs as number));
  const waiting = interested.filter(({ servedSinceMs }) => servedSinceMs === undefined);
  const settled = holders.filter(
    ({ servedSinceMs }) => nowMs - (servedSinceMs as number) < MIN_TURN_MS,
  );
  const isTurnOver = holders.slice(settled.length);
  // First those whose turn is not over, then who waits, then who has had most.
  const order = [...settled, ...waiting, ...isTurnOver];
  return new Set(order.slice(0, MAX_SLOTS).map(({ number }) => number));
}
