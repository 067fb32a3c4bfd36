/** That came in: a PeerConnection, a StockConnection, or the client of a relay's HTTP server. */
export interface Inbound {
  readonly remoteHost: string;
  /** It has proven that it is a member; of an ordinary client, that its handshake is over. */
  readonly isOpen: boolean;
}

/**
 * Anybody can knock. Those who have not come further have places of their own, so that they take none
 * from members, and one host has not all of them.
 */
export interface InboundLimits {
  /** Served at once by a process. */
  readonly maxOpen: number;
  /** Where anybody can be more than a stranger; absent: members prove that they are. */
  readonly maxOpenOfHost?: number;
  readonly maxUnproven: number;
}

const DEFAULT_INBOUND_LIMITS: InboundLimits = { maxOpen: 1024, maxUnproven: 256 };
/**
 * At a relay as many come as its Distributions have nodes, for each of these over BitTorrent, HTTP or
 * both: 10,000 of one (spec.relays.nodesPerRelay at its highest), or 200 of sixty.
 */
export const MAX_OPEN_AT_RELAY = 12_288;
const MAX_UNPROVEN_OF_HOST = 64;

/** Who is let in. PURE. */
export class InboundPlaces {
  readonly #limits: InboundLimits;
  readonly #unproven = new Set<Inbound>();
  readonly #open = new Set<Inbound>();
  /** Of #open. */
  readonly #openOfHost = new Map<string, number>();

  constructor(limits: Partial<InboundLimits> = {}) {
    this.#limits = { ...DEFAULT_INBOUND_LIMITS, ...limits };
  }

  /** False: it is to be closed. Either way leave() follows when it ends. */
  enter(connection: Inbound): boolean {
    this.#sortOutProven();
    const { maxOpen, maxOpenOfHost = maxOpen, maxUnproven } = this.#limits;
    const { remoteHost } = connection;
    let unprovenOfHost = 0;
    for (const each of this.#unproven) if (each.remoteHost === remoteHost) unprovenOfHost += 1;
    const isFree =
      this.#open.size < maxOpen &&
      (this.#openOfHost.get(remoteHost) ?? 0) < maxOpenOfHost &&
      this.#unproven.size < maxUnproven &&
      unprovenOfHost < MAX_UNPROVEN_OF_HOST;
    if (isFree) this.#unproven.add(connection);
    return isFree;
  }

  leave(connection: Inbound): void {
    this.#unproven.delete(connection);
    if (this.#open.delete(connection)) this.#count(connection, -1);
  }

  #sortOutProven(): void {
    for (const connection of this.#unproven) {
      if (!connection.isOpen) continue;
      this.#unproven.delete(connection);
      this.#open.add(connection);
      this.#count(connection, 1);
    }
  }

  #count({ remoteHost }: Inbound, change: number): void {
    const count = (this.#openOfHost.get(remoteHost) ?? 0) + change;
    if (count === 0) this.#openOfHost.delete(remoteHost);
    else this.#openOfHost.set(remoteHost, count);
  }
}
