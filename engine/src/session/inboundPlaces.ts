/** A PeerConnection is one. */
export interface Inbound {
  readonly remoteHost: string;
  /** It has proven that it is a member. */
  readonly isOpen: boolean;
}

/** Served at once by a process. */
const MAX_OPEN = 1024;
/**
 * Anybody can knock; only members of a swarm come further. Those who have not proven it yet have
 * places of their own, so that they take none from members, and one host has not all of them.
 */
const MAX_UNPROVEN = 256;
const MAX_UNPROVEN_OF_HOST = 64;

/** Who is let in. */
export class InboundPlaces {
  readonly #taken = new Set<Inbound>();
  readonly #maxOpenOfHost: number;

  /** `maxOpenOfHost`: where anybody can be more than a stranger. Members prove that they are. */
  constructor(maxOpenOfHost = MAX_OPEN) {
    this.#maxOpenOfHost = maxOpenOfHost;
  }

  /** False: it is to be closed. Either way leave() follows when it ends. */
  enter(connection: Inbound): boolean {
    const unproven = [...this.#taken].filter(({ isOpen }) => !isOpen);
    const isOfHost = ({ remoteHost }: Inbound) => remoteHost === connection.remoteHost;
    const unprovenOfHost = unproven.filter(isOfHost).length;
    const openOfHost = [...this.#taken].filter(isOfHost).length - unprovenOfHost;
    const isFree =
      this.#taken.size - unproven.length < MAX_OPEN &&
      openOfHost < this.#maxOpenOfHost &&
      unproven.length < MAX_UNPROVEN &&
      unprovenOfHost < MAX_UNPROVEN_OF_HOST;
    if (isFree) this.#taken.add(connection);
    return isFree;
  }

  leave(connection: Inbound): void {
    this.#taken.delete(connection);
  }
}
