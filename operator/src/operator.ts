/**
 * The operator as a whole: every replica watches, serves and is Ready; the one that holds the
 * Lease also decides.
 */
import { createServer, type Server } from 'node:http';
import type { KubeConfig } from '@kubernetes/client-node';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Registry } from 'prom-client';
import type { Logger } from 'winston';
import type { Config } from './config.ts';
import { Controllers } from './controllers/controllers.ts';
import type { DataSide } from './controllers/dataSide.ts';
import { KubeClient } from './kube/client.ts';
import { type Candidacy, LeaderElection } from './kube/leaderElection.ts';
import { Succession } from './kube/succession.ts';
import { newMetrics } from './metrics.ts';

export interface OperatorDependencies {
  readonly kubeConfig: KubeConfig;
  readonly clock: Clock;
  readonly random: Random;
  wallTime(): string;
  readonly logger: Logger;
  newDataSide(environment: DataSideEnvironment): DataSide;
}

/** What the data side gets of this one. */
export interface DataSideEnvironment {
  readonly client: KubeClient;
  readonly registry: Registry;
  readonly random: Random;
  isLeader(): boolean;
  /** Address of the leader's pod, for standbys that send callers there. */
  leaderIp(): string | undefined;
  /** Address of the pod that leads next, if it is known. */
  nextLeaderIp(): string | undefined;
  /** On the clock: when a standby last saw that the leader had renewed its Lease. */
  renewalSeenMs(): number | undefined;
  /** Another leader has written what this one was to write: the process must start anew. */
  onLost(error: Error): void;
}

const LEASE_NAME = 'sluice-operator';
/** Of a replica that could lead next: see kube/succession.ts. */
const SUCCESSOR_NAME = 'sluice-operator-next';
/** Under the 30 s that Kubernetes gives a pod by default. */
const SHUT_DOWN_MS = 20_000;

/** Identities are `<pod name>/<pod ip>/<random>`: another one in each process. */
export function leaderIpOf(identity: string | undefined): string | undefined {
  return identity?.split('/')[1];
}

export class Operator {
  readonly #config: Config;
  readonly #deps: OperatorDependencies;
  readonly #client: KubeClient;
  /** With connections of its own: a renewal must not wait behind the TokenReviews of all nodes. */
  readonly #leaseClient: KubeClient;
  readonly #controllers: Controllers;
  readonly #data: DataSide;
  readonly #election: LeaderElection;
  readonly #succession: Succession;
  readonly #registry: Registry;
  readonly #stop = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  /** The data side has started. */
  #serving: Promise<void> = Promise.resolve();
  #health: Server | undefined;
  #leading = false;

  constructor(config: Config, dependencies: OperatorDependencies) {
    this.#config = config;
    this.#deps = dependencies;
    const { clock, kubeConfig, logger, random } = dependencies;
    const identity = `${config.podName}/${config.podIp}/${random.bytes(4).toString('hex')}`;
    const metrics = newMetrics({
      distributions: () => this.#controllers.distributions.list(),
      isLeader: () => this.#election.isLeader,
      queueDepth: () => this.#controllers.queueDepth,
    });
    this.#registry = metrics.registry;
    const access = {
      config: kubeConfig,
      onRequest: (method: string, path: string) => metrics.kubeRequest(method, path),
    };
    this.#client = new KubeClient({}, access);
    this.#leaseClient = new KubeClient({}, access);
    this.#data = dependencies.newDataSide({
      client: this.#client,
      registry: this.#registry,
      random,
      isLeader: () => this.#election.isLeader,
      leaderIp: () => leaderIpOf(this.#election.leader),
      nextLeaderIp: () => leaderIpOf(this.#succession.next),
      renewalSeenMs: () => this.#election.renewalSeenMs,
      onLost: (error) => this.#ended.reject(error),
    });
    this.#controllers = new Controllers(
      { instance: config.podName, fleet: config, workloads: config.workloads },
      {
        ...dependencies,
        client: this.#client,
        onReconciled: (latencyMs) => metrics.reconciled(latencyMs),
        coordinator: this.#data.coordinator,
        epochs: this.#data.epochs,
        troubles: this.#data.troubles,
      },
    );
    this.#election = new LeaderElection(
      { namespace: config.namespace, name: LEASE_NAME, identity },
      {
        client: this.#leaseClient,
        clock,
        random,
        onStarted: (term) => void this.#lead(term),
        candidacy: () => this.#candidacy(),
        onStopped: (reason) => this.#stopLeading(reason),
        onError: (error) => logger.warn('leader election failed and is tried again', { error }),
      },
    );
    this.#succession = new Succession(
      { namespace: config.namespace, name: SUCCESSOR_NAME, identity },
      {
        client: this.#leaseClient,
        clock,
        random,
        isLeader: () => this.#election.isLeader,
        couldLead: () => this.#couldLead(),
        awaySinceMs: () => {
          const database = this.#data.databaseState();
          return database.kind === 'away' ? database.sinceMs : undefined;
        },
        onStandBack: (successor) => this.#standBack(successor),
        onError: (error) => logger.warn('who could lead next is asked again', { error }),
      },
    );
    // Whoever waits for it hears of it; nobody may yet.
    this.#ended.promise.catch(() => {});
  }

  /** Resolves when it has been stopped; rejects when it cannot go on and must be started anew. */
  async run(): Promise<void> {
    const { signal } = this.#stop;
    this.#health = await this.#serveHealth();
    try {
      this.#serving = this.#data.start(signal);
      this.#serving.catch((error) => this.#ended.reject(error));
      await Promise.race([this.#controllers.start(signal), this.#ended.promise]);
      signal.throwIfAborted();
      // Without the database, too: what is deleted meanwhile must not wait for it.
      this.#election.start();
      this.#succession.start();
      await Promise.race([this.#serving, this.#ended.promise]);
      signal.throwIfAborted();
      this.#deps.logger.info('operator is ready', { namespace: this.#config.namespace });
      await this.#ended.promise;
    } catch (error) {
      if (!signal.aborted) {
        // It is why the process ends, whatever else fails.
        await this.#shutDownInTime().catch((late: unknown) => {
          this.#deps.logger.error('not all has ended well', { error: late });
        });
        throw error;
      }
    }
    await this.#shutDownInTime();
  }

  stop(): void {
    this.#stop.abort(new Error('the operator is stopping'));
    this.#ended.resolve();
  }

  #candidacy(): Candidacy {
    if (this.#data.databaseState().kind === 'newer') return 'never';
    if (!this.#couldLead()) return 'late';
    return this.#succession.isSecond ? 'second' : 'now';
  }

  #couldLead(): boolean {
    return this.#data.databaseState().kind === 'answers' && this.#data.ready();
  }

  /** Another replica can do what this one cannot. A process that starts anew waits for the database. */
  #standBack(successor: string): void {
    const message = `the database is away for this replica, and not for ${successor}`;
    this.#ended.reject(Object.assign(new Error(message), { code: 'DatabaseAway' }));
  }

  async #lead(term: number): Promise<void> {
    this.#deps.logger.info('this replica leads', { term });
    this.#leading = true;
    try {
      this.#controllers.hold();
      await this.#serving;
      if (!this.#leading) return;
      await this.#data.lead(term, this.#stop.signal);
      if (this.#leading) await this.#controllers.lead();
    } catch (error) {
      this.#ended.reject(error);
    }
  }

  /** Called before the Lease is given back: whoever leads next must be the only one. */
  async #stopLeading(reason: 'lost' | 'released'): Promise<void> {
    this.#deps.logger.info('this replica leads no more', { reason });
    this.#leading = false;
    if (reason === 'released') await this.#flush();
    this.#data.stepDown();
    if (reason === 'lost') {
      this.#ended.reject(
        Object.assign(new Error('the Lease could not be renewed'), { code: 'LeadershipLost' }),
      );
      return;
    }
    await this.#controllers.stop();
  }

  /** What cannot be written keeps nobody from leading next. */
  async #flush(): Promise<void> {
    try {
      await this.#data.flush();
    } catch (error) {
      this.#deps.logger.warn('not all that is known of nodes is written', { error });
    }
  }

  /** A process that is alive and does nothing is worse than one that ends with something undone. */
  async #shutDownInTime(): Promise<void> {
    const late = Promise.withResolvers<never>();
    const timer = this.#deps.clock.setTimer(SHUT_DOWN_MS, () => {
      const message = `not all has ended within ${SHUT_DOWN_MS / 1000} s`;
      late.reject(Object.assign(new Error(message), { code: 'NotEndedInTime' }));
    });
    try {
      await Promise.race([this.#shutDown(), late.promise]);
    } finally {
      timer.cancel();
    }
  }

  async #shutDown(): Promise<void> {
    this.#stop.abort();
    await Promise.all([this.#succession.stop(), this.#election.stop()]);
    await this.#controllers.stop();
    await this.#data.stop();
    this.#health?.closeAllConnections();
    this.#health?.close();
    await Promise.all([this.#client.close(), this.#leaseClient.close()]);
  }

  #serveHealth(): Promise<Server> {
    const server = createServer((request, response) => {
      const answer = (status: number, text: string, type = 'text/plain') => {
        response.writeHead(status, { 'content-type': type }).end(text);
      };
      const ready = this.#controllers.synced && this.#data.ready();
      switch (request.url) {
        case '/healthz':
          return answer(200, 'ok\n');
        case '/readyz':
          return ready ? answer(200, 'ok\n') : answer(503, 'starting\n');
        case '/metrics':
          this.#registry.metrics().then(
            (text) => answer(200, text, this.#registry.contentType),
            () => answer(500, 'metrics cannot be read\n'),
          );
          return;
        default:
          return answer(404, 'not found\n');
      }
    });
    const { promise, resolve, reject } = Promise.withResolvers<Server>();
    server.once('error', reject);
    server.listen(this.#config.metricsPort, () => resolve(server));
    return promise;
  }
}
