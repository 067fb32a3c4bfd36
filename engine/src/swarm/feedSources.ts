import type { Bitfield } from '../pieces/bitfield.ts';

/** A peer that the feed may be had from. */
export interface FeedSource {
  readonly number: number;
  readonly role: 'relay' | 'agent';
  /** It was asked to send the feed. */
  readonly subscribed: boolean;
}

/** So that the feed goes on at once when one of them is gone. */
const FEED_SOURCES = 2;

/**
 * Whom to ask for the feed now: every relay, for they sign it, and agents as long as there are
 * fewer sources than wanted. From all peers it would come as often as there are peers, and that
 * cost more of a small machine than the file itself.
 */
export function subscribeTo(peers: readonly FeedSource[]): number[] {
  const relays = peers.filter(({ role, subscribed }) => role === 'relay' && !subscribed);
  const sources = peers.filter(({ subscribed }) => subscribed).length + relays.length;
  const agents = peers.filter(({ role, subscribed }) => role === 'agent' && !subscribed);
  return [...relays, ...agents.slice(0, Math.max(0, FEED_SOURCES - sources))].map(
    ({ number }) => number,
  );
}

/** What somebody has had for so long and no source names: there are sources that know more. */
const UNNAMED_MS = 1000;
/** Beside relays. A peer that claims what it does not have must not make sources of them all. */
const MAX_AGENTS = 6;

/**
 * Pieces that peers have and no source has named: what a source told others before it was gone, and
 * not us, would else be heard of only when everything else has come.
 */
export class FeedGaps {
  /** Since when each of them is known, oldest first. */
  readonly #sinceMs = new Map<number, number>();
  #askedAtMs = Number.NEGATIVE_INFINITY;

  /** A peer has it, and it has no name yet. */
  seen(piece: number, nowMs: number): void {
    if (!this.#sinceMs.has(piece)) this.#sinceMs.set(piece, nowMs);
  }

  /** Nobody, or one that has such a piece; one a second at most. */
  whomToAsk(
    peers: readonly (FeedSource & { readonly has: Bitfield })[],
    isNamed: (piece: number) => boolean,
    nowMs: number,
  ): number[] {
    if (nowMs - this.#askedAtMs < UNNAMED_MS) return [];
    const agents = peers.filter(({ role, subscribed }) => role === 'agent' && subscribed).length;
    const others = agents < MAX_AGENTS ? peers.filter(({ subscribed }) => !subscribed) : [];
    for (const [piece, sinceMs] of this.#sinceMs) {
      if (!isNamed(piece) && nowMs - sinceMs < UNNAMED_MS) return [];
      // When nobody can be asked for it, the next one that comes to have it brings it up again.
      this.#sinceMs.delete(piece);
      if (isNamed(piece)) continue;
      const knowing = others.find(({ has }) => has.has(piece));
      if (knowing === undefined) continue;
      this.#askedAtMs = nowMs;
      return [knowing.number];
    }
    return [];
  }
}
