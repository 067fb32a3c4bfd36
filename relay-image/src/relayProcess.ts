import { guardedLookup } from '@sluice/engine/adapters/http/guardedLookup.ts';
import {
  DEFAULT_HTTP_OPTIONS,
  NodeHttpSource,
} from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { RelayServer } from '@sluice/engine/adapters/http/relayServer.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import { MAX_OPEN_AT_RELAY } from '@sluice/engine/swarm/inboundPlaces.ts';
import { ControlClient } from '@sluice/protocol/client/controlClient.ts';
import { ControlWorker } from '@sluice/protocol/client/controlWorker.ts';
import { HealthServer } from '@sluice/protocol/client/healthServer.ts';
import type { Logger } from 'winston';
import type { RelayConfig } from './config.ts';
import { errorFields } from './logger.ts';
import { RelayMetrics } from './metrics.ts';
import { RelayHost } from './relayHost.ts';

export interface RelayProcessDependencies {
  readonly logger: Logger;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
}

/** The relay's parts, put together. */
export class RelayProcess {
  readonly #config: RelayConfig;
  readonly #logger: Logger;
  readonly #engine: EngineHost;
  readonly #relayServer: RelayServer;
  readonly #worker: ControlWorker;
  readonly #health: HealthServer;
  #listening = false;

  constructor(config: RelayConfig, { logger, wallClock }: RelayProcessDependencies) {
    this.#config = config;
    this.#logger = logger;
    const { bitTorrentPort, stockPort, httpPort, healthPort } = config;
    this.#engine = new EngineHost({ port: bitTorrentPort, role: 'relay', stockPort });
    this.#relayServer = new RelayServer(
      { port: httpPort, maxConnections: MAX_OPEN_AT_RELAY },
      { admit: this.#engine.admitUpload },
    );
    const onProblem = (error: unknown) => {
      metrics.controlProblem();
      logger.warn('control problem', errorFields(error));
    };
    const client = new ControlClient(
      { ...config, kind: 'relay' },
      { clock: systemClock, onProblem },
    );
    const host = new RelayHost(config, {
      engine: this.#engine,
      relayServer: this.#relayServer,
      client,
      httpSource: (allowsPrivate) =>
        new NodeHttpSource({ ...DEFAULT_HTTP_OPTIONS, lookup: guardedLookup(allowsPrivate) }),
      clock: systemClock,
      wallClock,
      logger,
    });
    this.#worker = new ControlWorker(
      { newestOnly: false },
      { client, host, disk: async () => undefined, onProblem },
    );
    const metrics = new RelayMetrics({
      reports: () => this.#worker.reports(),
      controlConnected: () => client.connected,
      protocolVersion: () => client.protocolVersion,
      closedConnections: () => this.#engine.closedConnections,
      newerBatches: () => this.#engine.newerBatches,
      bannedPeers: () => this.#engine.bannedPeers,
      closedStockConnections: () => this.#engine.stock?.closedConnections ?? new Map(),
    });
    this.#health = new HealthServer(
      { port: healthPort },
      { ready: () => this.#listening, metrics: () => metrics.text() },
    );
  }

  async start(): Promise<void> {
    const { bitTorrentPort, stockPort, httpPort } = this.#config;
    await this.#health.start();
    await this.#engine.start();
    await this.#relayServer.start();
    this.#worker.start();
    this.#listening = true;
    this.#logger.info('relay started', { bitTorrentPort, stockPort, httpPort });
  }

  /**
   * Settles every lease, closes every connection; files stay. A pod that goes takes its cache with
   * it: until aborted, it gives away first what nobody else has.
   */
  async stop(signal: AbortSignal): Promise<void> {
    this.#listening = false;
    await this.#worker.drain(signal);
    await this.#worker.stop();
    await this.#relayServer.stop();
    await this.#engine.stop();
    await this.#health.stop();
    this.#logger.info('relay stopped');
  }
}
