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
