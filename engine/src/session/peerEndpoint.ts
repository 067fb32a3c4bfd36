import type { Random } from '../ports/random.ts';
import type { Listener, PeerSocket, SocketHandlers, Transport } from '../ports/transport.ts';
import type { Inbound, InboundPlaces } from '../swarm/inboundPlaces.ts';
import { PEER_ID_BYTES } from '../wire/hello.ts';
import type { CloseReason } from './closeReason.ts';

export interface PeerEndpointDependencies {
  readonly random: Random;
  readonly transport: Transport;
  readonly places: InboundPlaces;
}

/** A PeerConnection is one, and a StockConnection. */
export interface InboundConnection extends Inbound, SocketHandlers {
  attach(socket: PeerSocket): void;
  close(reason: CloseReason): void;
}

const PEER_ID_PREFIX = '-SL0001-';

/** A port and a peer id: who is let in there, and why connections under that id ended. */
export class PeerEndpoint {
  readonly peerId: Buffer;
  readonly #transport: Transport;
  readonly #places: InboundPlaces;
  readonly #closed = new Map<CloseReason, number>();
  #listener: Listener | undefined;

  constructor({ random, transport, places }: PeerEndpointDependencies) {
    this.#transport = transport;
    this.#places = places;
    const tail = random.bytes(PEER_ID_BYTES - PEER_ID_PREFIX.length);
    this.peerId = Buffer.concat([Buffer.from(PEER_ID_PREFIX), tail]);
  }

  /** While it listens. */
  get port(): number {
    return this.#listener?.port ?? 0;
  }

  get closedConnections(): ReadonlyMap<CloseReason, number> {
    return this.#closed;
  }

  /** A connection, in or out, is over. */
  countClosed(reason: CloseReason): void {
    this.#closed.set(reason, (this.#closed.get(reason) ?? 0) + 1);
  }

  /** `port`: 0 takes any free one. */
  async listen(port: number, newConnection: () => InboundConnection): Promise<void> {
    this.#listener = await this.#transport.listen(port, (socket) => {
      const connection = newConnection();
      connection.attach(socket);
      if (!this.#places.enter(connection)) connection.close('TooManyConnections');
      return {
        onData: (chunk) => connection.onData(chunk),
        onDrain: () => connection.onDrain(),
        onClose: (reason) => {
          this.#places.leave(connection);
          connection.onClose(reason);
        },
      };
    });
  }

  async close(): Promise<void> {
    await this.#listener?.close();
  }
}
