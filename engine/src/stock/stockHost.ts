import type { Clock } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { Random } from '../ports/random.ts';
import type { Transport } from '../ports/transport.ts';
import type { CloseReason } from '../session/closeReason.ts';
import { PeerEndpoint } from '../session/peerEndpoint.ts';
import type { Uploader } from '../session/uploader.ts';
import { InboundPlaces } from '../swarm/inboundPlaces.ts';
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

/** Many clients may be behind one address; it is not to have all places of who knows a torrent. */
const MAX_OPEN_OF_HOST = 256;

/** The listener for stock clients, and the torrents that they find behind it. */
export class StockHost {
  readonly #options: StockHostOptions;
  readonly #dependencies: StockHostDependencies;
  readonly #connections: StockConnectionDependencies;
  /**
   * A hybrid is here twice, under each of its hashes. Two may have the same bytes under the same
   * name: the first one meets who comes in, and when it goes the next one does.
   */
  readonly #swarms = new Map<string, StockSwarm[]>();
  readonly #endpoint: PeerEndpoint;

  constructor(options: StockHostOptions, dependencies: StockHostDependencies) {
    const { clock } = dependencies;
    this.#options = options;
    this.#dependencies = dependencies;
    const places = new InboundPlaces({ maxOpenOfHost: MAX_OPEN_OF_HOST });
    this.#endpoint = new PeerEndpoint({ ...dependencies, places });
    this.#connections = {
      clock,
      peerId: this.#endpoint.peerId,
      find: (infoHash) => this.#swarms.get(infoHash)?.[0],
      ended: (reason) => this.#endpoint.countClosed(reason),
    };
  }

  /** While started. */
  get port(): number {
    return this.#endpoint.port;
  }

  /** Connections that ended, in and out, by reason. */
  get closedConnections(): ReadonlyMap<CloseReason, number> {
    return this.#endpoint.closedConnections;
  }

  async start(): Promise<void> {
    const newConnection = () => new StockConnection(undefined, this.#connections);
    await this.#endpoint.listen(this.#options.port, newConnection);
  }

  async stop(): Promise<void> {
    for (const swarm of new Set([...this.#swarms.values()].flat())) await this.remove(swarm);
    await this.#endpoint.close();
  }

  /** Not started yet. */
  add(options: StockSwarmOptions): StockSwarm {
    const swarm = new StockSwarm(options, {
      ...this.#dependencies,
      connect: (owner) => new StockConnection(owner, this.#connections),
    });
    for (const name of namesOf(swarm)) {
      this.#swarms.set(name, [...(this.#swarms.get(name) ?? []), swarm]);
    }
    return swarm;
  }

  async remove(swarm: StockSwarm): Promise<void> {
    for (const name of namesOf(swarm)) {
      const left = (this.#swarms.get(name) ?? []).filter((each) => each !== swarm);
      if (left.length > 0) this.#swarms.set(name, left);
      else this.#swarms.delete(name);
    }
    await swarm.stop();
  }
}

function namesOf({ wireHashes }: StockSwarm): string[] {
  return wireHashes.map((hash) => hash.toString('hex'));
}
