import type { PeerRole } from '../wire/hello.ts';
import type { PeerConnection } from './peerConnection.ts';

/** The open connections of one transfer. A process may have two to another one, one each way. */
export class Connections {
  readonly #byNumber = new Map<number, PeerConnection>();
  /** Those of them that we opened, by the process at the other end. */
  readonly #openedTo = new Map<string, PeerConnection>();
  /** Those that they opened to us. */
  readonly #acceptedFrom = new Map<string, PeerConnection>();

  [Symbol.iterator](): IterableIterator<PeerConnection> {
    return this.#byNumber.values();
  }

  get(number: number): PeerConnection | undefined {
    return this.#byNumber.get(number);
  }

  openedTo(peerId: string): PeerConnection | undefined {
    return this.#openedTo.get(peerId);
  }

  allOpened(): PeerConnection[] {
    return [...this.#openedTo.values()];
  }

  /** Whether some take from us, of this role or any: who needs nothing more has left. */
  hasTakers(role?: PeerRole): boolean {
    if (role === undefined) return this.#acceptedFrom.size > 0;
    for (const { remoteRole } of this.#acceptedFrom.values()) if (remoteRole === role) return true;
    return false;
  }

  acceptedFrom(peerId: string): PeerConnection | undefined {
    return this.#acceptedFrom.get(peerId);
  }

  add(connection: PeerConnection): void {
    this.#byNumber.set(connection.number, connection);
    this.#sideOf(connection).set(connection.remotePeerId, connection);
  }

  /** Answers whether it was there. */
  remove(connection: PeerConnection): boolean {
    const side = this.#sideOf(connection);
    if (side.get(connection.remotePeerId) === connection) side.delete(connection.remotePeerId);
    return this.#byNumber.delete(connection.number);
  }

  #sideOf({ side }: PeerConnection): Map<string, PeerConnection> {
    return side === 'opener' ? this.#openedTo : this.#acceptedFrom;
  }
}
