import { diskSpaceOf } from '@sluice/engine/adapters/file/diskSpace.ts';
import { guardedLookup } from '@sluice/engine/adapters/http/guardedLookup.ts';
import {
  DEFAULT_HTTP_OPTIONS,
  NodeHttpSource,
} from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { systemRandom } from '@sluice/engine/adapters/system/systemRandom.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import { ControlClient } from '@sluice/protocol/client/controlClient.ts';
import { ControlWorker } from '@sluice/protocol/client/controlWorker.ts';
import { HealthServer } from '@sluice/protocol/client/healthServer.ts';
import type { Logger } from 'winston';
import { AgentHost } from './agentHost.ts';
import type { AgentConfig } from './config.ts';
import { errorFields } from './logger.ts';
import { AgentMetrics } from './metrics.ts';
import { namedIn, Orphans } from './orphans.ts';

export interface AgentProcessDependencies {
  readonly logger: Logger;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
}

/** The agent's parts, put together. */
export class AgentProcess {
  readonly #config: AgentConfig;
  readonly #logger: Logger;
  readonly #engine: EngineHost;
  readonly #worker: ControlWorker;
  readonly #health: HealthServer;
  #listening = false;

  constructor(config: AgentConfig, { logger, wallClock }: AgentProcessDependencies) {
    this.#config = config;
    this.#logger = logger;
    const { bitTorrentPort, healthPort, root, minFreePercent, checkSeconds, rehashSeconds } =
      config;
    this.#engine = new EngineHost({ port: bitTorrentPort, role: 'agent' });
    const onProblem = (error: unknown) => {
      metrics.controlProblem();
      logger.warn('control problem', errorFields(error));
    };
    const client = new ControlClient(
      { ...config, kind: 'agent' },
      { clock: systemClock, onProblem },
    );
    const orphans = new Orphans({ root, named: () => namedIn(this.#worker.reports()) }, { logger });
    const host = new AgentHost(
      {
        root,
        minFreePercent,
        namespaceShares: config.namespaceShares,
        check: { lookMs: checkSeconds * 1000, rehashMs: rehashSeconds * 1000 },
      },
      {
        engine: this.#engine,
        client,
        http: new NodeHttpSource(),
        httpSource: (allowsPrivate) =>
          new NodeHttpSource({ ...DEFAULT_HTTP_OPTIONS, lookup: guardedLookup(allowsPrivate) }),
        clock: systemClock,
        random: () => systemRandom.next(),
        wallClock,
        logger,
        orphans,
      },
    );
    this.#worker = new ControlWorker(
      { newestOnly: true },
      { client, host, disk: () => diskSpaceOf(root).catch(() => undefined), onProblem },
    );
    const metrics = new AgentMetrics({
      reports: () => this.#worker.reports(),
      controlConnected: () => client.connected,
      protocolVersion: () => client.protocolVersion,
      closedConnections: () => this.#engine.closedConnections,
      newerBatches: () => this.#engine.newerBatches,
      bannedPeers: () => this.#engine.bannedPeers,
      orphans: () => orphans.list(),
    });
    this.#health = new HealthServer(
      { port: healthPort },
      { ready: () => this.#listening, metrics: () => metrics.text() },
    );
  }

  async start(): Promise<void> {
    const { root, bitTorrentPort } = this.#config;
    await this.#health.start();
    await this.#engine.start();
    this.#worker.start();
    this.#listening = true;
    this.#logger.info('agent started', { bitTorrentPort, root });
  }

  /** Closes every connection; files stay, and what is verified is not fetched again. */
  async stop(): Promise<void> {
    this.#listening = false;
    await this.#worker.stop();
    await this.#engine.stop();
    await this.#health.stop();
    this.#logger.info('agent stopped');
  }
}
