import type { Clock } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { Random } from '../ports/random.ts';
import type { Listener, Transport } from '../ports/transport.ts';
import type { CloseReason } from '../session/closeReason.ts';
import { InboundPlaces } from '../session/inboundPlaces.ts';
import type { Uploader } from '../session/uploader.ts';
import { StockConnection, type StockConnectionDependencies } from './stockConnection.ts';
import { StockSwarm, type StockSwarmOptions } from './stockSwarm.ts';

export interface StockHostOptions {
  /** 0 takes any free one. */
  readonly port: number;
}

export interface StockHostDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  /** Of the whole process: stock clients wait for their turns with everybody else. */
  readonly uploader: Uploader;
  readonly memory: PieceBuffers;
}

const PEER_ID_PREFIX = '-SL0001-';
const PEER_ID_BYTES = 20;

/** The listener for stock clients, and the torrents that they find behind it. */
export class StockHost {
  readonly #options: StockHostOptions;
  readonly #dependencies: StockHostDependencies;
  readonly #connections: StockConnectionDependencies;
  /** A hybrid is here twice, under each of its hashes. */
  readonly #swarms = new Map<string, StockSwarm>();
  readonly #places = new InboundPlaces();
  readonly #closed = new Map<CloseReason, number>();
  #listener: Listener | undefined;

  constructor(options: StockHostOptions, dependencies: StockHostDependencies) {
    const { clock, random } = dependencies;
    this.#options = options;
    this.#dependencies = dependencies;
    const tail = random.bytes(PEER_ID_BYTES - PEER_ID_PREFIX.length);
    this.#connections = {
      clock,
      peerId: Buffer.concat([Buffer.from(PEER_ID_PREFIX), tail]),
      find: (infoHash) => this.#swarms.get(infoHash),
      ended: (reason) => this.#closed.set(reason, (this.#closed.get(reason) ?? 0) + 1),
    };
  }

  /** While started. */
  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** Connections that ended, in and out, by reason. */
  get closedConnections(): ReadonlyMap<CloseReason, number> {
    return this.#closed;
  }

  async start(): Promise<void> {
    this.#listener = await this.#dependencies.transport.listen(this.#options.port, (socket) => {
      const connection = new StockConnection(undefined, this.#connections);
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

  async stop(): Promise<void> {
    for (const swarm of new Set(this.#swarms.values())) await this.remove(swarm);
    await this.#listener?.close();
  }

  /** Not started yet. */
  add(options: StockSwarmOptions): StockSwarm {
    const swarm = new StockSwarm(options, {
      ...this.#dependencies,
      connect: (owner) => new StockConnection(owner, this.#connections),
    });
    for (const hash of swarm.wireHashes) {
      const name = hash.toString('hex');
      if (this.#swarms.has(name)) throw new Error(`there is a torrent ${name} already`);
    }
    for (const hash of swarm.wireHashes) this.#swarms.set(hash.toString('hex'), swarm);
    return swarm;
  }

  async remove(swarm: StockSwarm): Promise<void> {
    for (const hash of swarm.wireHashes) this.#swarms.delete(hash.toString('hex'));
    await swarm.stop();
  }
}
