import type { CloseReason } from './closeReason.ts';

/** A PeerConnection is one. */
export interface WaitingPeer {
  /** Goes on with the handshake if its swarm is served by now. */
  serve(): boolean;
  close(reason: CloseReason): void;
}

/**
 * Each holds one of the 256 places of those who have not proven themselves (inboundPlaces.ts), and
 * most will be served in a moment or never: they get a quarter of the places.
 */
const MAX_WAITING = 64;

/** Came in and named a swarm that is not served here, or not yet; in the order in which they came. */
export class WaitingPeers {
  readonly #peers = new Set<WaitingPeer>();

  add(peer: WaitingPeer): void {
    this.#peers.add(peer);
    if (this.#peers.size <= MAX_WAITING) return;
    // Who has waited longest is the least likely to be served, and the next to run out of time.
    const [oldest] = this.#peers;
    if (oldest === undefined) return;
    this.#peers.delete(oldest);
    oldest.close('UnknownSwarm');
  }

  delete(peer: WaitingPeer): void {
    this.#peers.delete(peer);
  }

  /** Another swarm is served from now on. */
  serve(): void {
    for (const peer of this.#peers) {
      if (peer.serve()) this.#peers.delete(peer);
    }
  }
}
