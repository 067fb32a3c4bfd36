import { systemRandom } from '../adapters/system/systemRandom.ts';
import { systemClock } from '../adapters/systemClock.ts';
import { tcpTransport } from '../adapters/tcp/tcpTransport.ts';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Clock } from '../ports/clock.ts';
import type { PieceBuffers } from '../ports/pieceBuffers.ts';
import type { Random } from '../ports/random.ts';
import type { Transport } from '../ports/transport.ts';
import { StockHost } from '../stock/stockHost.ts';
import { InboundPlaces, MAX_OPEN_AT_RELAY } from '../swarm/inboundPlaces.ts';
import type { PeerRole } from '../wire/hello.ts';
import type { CloseReason } from './closeReason.ts';
import { type ConnectionDependencies, PeerConnection } from './peerConnection.ts';
import { PeerEndpoint } from './peerEndpoint.ts';
import { PieceMemory } from './pieceMemory.ts';
import { Transfer, type TransferDependencies, type TransferOptions } from './transfer.ts';
import { Uploader } from './uploader.ts';
import { uploadGate } from './uploadGate.ts';
import { WaitingPeers } from './waitingPeers.ts';

export interface EngineHostOptions {
  /** BitTorrent; 0 takes any free one. */
  readonly port: number;
  readonly role: PeerRole;
  /** Of the whole process, BitTorrent and HTTP together. Undefined: no limit. */
  readonly uploadRateBytesPerSecond?: number;
  /** Where stock clients come in; 0 takes any free one, undefined: nowhere. */
  readonly stockPort?: number | undefined;
}

export interface EngineHostDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  /** Absent: memory that keeps the pieces that came last. */
  readonly memory?: PieceBuffers;
}

/** One of a host's transfers, and what its process wants to hear of it. */
interface AddedTransfer extends TransferOptions {
  readonly onBanned?: TransferDependencies['onBanned'];
}

const BURST_SECONDS = 0.1;

/** What the transfers of one process share: port, peer id, upload limit. */
export class EngineHost {
  /** Waits until so many bytes may be sent by HTTP, under the same limit as BitTorrent's. */
  readonly admitUpload: (bytes: number, signal: AbortSignal) => Promise<void>;
  /** Undefined: no stock client comes in. */
  readonly stock: StockHost | undefined;
  readonly #options: EngineHostOptions;
  readonly #dependencies: EngineHostDependencies;
  readonly #transfers = new Map<string, Transfer>();
  readonly #uploader: Uploader;
  readonly #memory: PieceBuffers;
  readonly #connections: ConnectionDependencies;
  readonly #waiting = new WaitingPeers();
  readonly #endpoint: PeerEndpoint;
  #newerBatches = 0;
  #bannedPeers = 0;

  constructor(
    options: EngineHostOptions,
    dependencies: EngineHostDependencies = {
      clock: systemClock,
      random: systemRandom,
      transport: tcpTransport,
    },
  ) {
    const { clock, random } = dependencies;
    this.#options = options;
    this.#dependencies = dependencies;
    this.#memory = dependencies.memory ?? new PieceMemory();
    const rateBytesPerSecond = options.uploadRateBytesPerSecond;
    const capacityBytes = (rateBytesPerSecond ?? 0) * BURST_SECONDS;
    const bucket = new TokenBucket({ rateBytesPerSecond, capacityBytes }, clock.now());
    this.admitUpload = uploadGate(bucket, clock);
    this.#uploader = new Uploader(bucket, clock, this.#memory);
    const shared = { ...dependencies, uploader: this.#uploader, memory: this.#memory };
    if (options.stockPort !== undefined) {
      this.stock = new StockHost({ port: options.stockPort }, shared);
    }
    const places = new InboundPlaces(
      options.role === 'relay' ? { maxOpen: MAX_OPEN_AT_RELAY } : {},
    );
    this.#endpoint = new PeerEndpoint({ ...dependencies, places });
    this.#connections = {
      clock,
      random,
      peerId: this.#endpoint.peerId,
      role: options.role,
      find: (swarmId) => {
        const transfer = this.#transfers.get(swarmId);
        return transfer?.isStarted === true ? transfer.exchange : undefined;
      },
      waits: (connection) => this.#waiting.add(connection),
      ended: (reason, connection) => {
        this.#waiting.delete(connection);
        this.#endpoint.countClosed(reason);
      },
    };
  }

  /** While started. */
  get port(): number {
    return this.#endpoint.port;
  }

  /** Connections of this process that ended, in and out, by reason. */
  get closedConnections(): ReadonlyMap<CloseReason, number> {
    return this.#endpoint.closedConnections;
  }

  /** Of the feed, in a format that only a newer release can read: they were passed over. */
  get newerBatches(): number {
    return this.#newerBatches;
  }

  /** Peers that sent wrong bytes, once for each transfer. */
  get bannedPeers(): number {
    return this.#bannedPeers;
  }

  async start(): Promise<void> {
    const newConnection = () => new PeerConnection(undefined, this.#connections);
    await this.#endpoint.listen(this.#options.port, newConnection);
    await this.stock?.start();
  }

  async stop(): Promise<void> {
    await this.stock?.stop();
    for (const swarmId of [...this.#transfers.keys()]) await this.removeTransfer(swarmId);
    this.#uploader.stop();
    await this.#endpoint.close();
  }

  /** Not started yet. */
  addTransfer({ onBanned, ...options }: AddedTransfer): Transfer {
    if (this.#transfers.has(options.swarmId)) {
      throw new Error(`there is a transfer of swarm ${options.swarmId} already`);
    }
    const transfer = new Transfer(options, {
      ...this.#dependencies,
      uploader: this.#uploader,
      memory: this.#memory,
      onStarted: () => this.#waiting.serve(),
      onNewerBatch: () => {
        this.#newerBatches += 1;
      },
      onBanned: (peer, piece) => {
        this.#bannedPeers += 1;
        onBanned?.(peer, piece);
      },
      connect: (owner) => new PeerConnection(owner, this.#connections),
    });
    this.#transfers.set(options.swarmId, transfer);
    return transfer;
  }

  async removeTransfer(swarmId: string): Promise<void> {
    const transfer = this.#transfers.get(swarmId);
    this.#transfers.delete(swarmId);
    await transfer?.stop();
  }
}
