import type { CloseReason } from './closeReason.ts';

/** A PeerConnection is one. */
export interface WaitingPeer {
  readonly remoteHost: string;
  /** Goes on with the handshake if its swarm is served by now. */
  serve(): boolean;
  close(reason: CloseReason): void;
}

/**
 * As many as a relay that begins later than its agents may have to let wait. Each holds one of the 256
 * places of those who have not proven themselves (swarm/inboundPlaces.ts): some are left for who comes.
 */
const MAX_WAITING = 208;

/** Came in and named a swarm that is not served here, or not yet; in the order in which they came. */
export class WaitingPeers {
  readonly #peers = new Set<WaitingPeer>();

  add(peer: WaitingPeer): void {
    this.#peers.add(peer);
    if (this.#peers.size <= MAX_WAITING) return;
    const last = this.#oldestOfBusiestHost();
    this.#peers.delete(last);
    last.close('UnknownSwarm');
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

  /** Of the host with most of them, so that one host takes no place from others; longest here. */
  #oldestOfBusiestHost(): WaitingPeer {
    const byHost = new Map<string, WaitingPeer[]>();
    for (const peer of this.#peers) {
      byHost.set(peer.remoteHost, [...(byHost.get(peer.remoteHost) ?? []), peer]);
    }
    const [busiest] = [...byHost.values()].sort((a, b) => b.length - a.length);
    return busiest?.[0] as WaitingPeer;
  }
}
