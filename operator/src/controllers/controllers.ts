/**
 * The Kubernetes side of the operator as one thing: copies of what it watches, kept on every
 * replica, and the controllers, which run on the leader only.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../api/v1alpha1/distribution.ts';
import type { Origin } from '../api/v1alpha1/origin.ts';
import type { KubeClient } from '../kube/client.ts';
import { EventRecorder } from '../kube/events.ts';
import type {
  ClaimObject,
  NamespaceObject,
  NodeObject,
  VolumeObject,
  WorkloadObject,
} from '../kube/objects.ts';
import { listPath, type Resource, resources } from '../kube/paths.ts';
import { type KubeObject, Reflector } from '../kube/reflector.ts';
import { trimNode } from '../kube/trim.ts';
import type { Coordinator, EpochStore, Troubles } from './dataSide.ts';
import { distributionApi } from './distribution/api.ts';
import { DistributionController } from './distribution/controller.ts';
import { Overdue } from './distribution/overdue.ts';
import { FleetController } from './fleet/controller.ts';
import type { FleetOptions } from './fleet/manifests.ts';
import { OriginController } from './origin/controller.ts';
import { distributionUidOf } from './workloads/volumes.ts';
import { Workloads } from './workloads/workloads.ts';

export interface ControllersOptions {
  /** Names this replica in events. */
  readonly instance: string;
  readonly fleet: FleetOptions;
  /** What it may do for the pods that use the files. */
  readonly workloads: { readonly persistentVolumeClaims: boolean; readonly nodeLabels: boolean };
}

export interface ControllersDependencies {
  readonly client: KubeClient;
  readonly coordinator: Coordinator;
  readonly epochs: EpochStore;
  readonly troubles: Troubles;
  readonly clock: Clock;
  readonly random: Random;
  wallTime(): string;
  readonly logger: Logger;
  /** From when a Distribution was due to when its reconciliation had ended. */
  onReconciled?(latencyMs: number): void;
}

const MANAGED = 'app.kubernetes.io/managed-by=sluice-operator';

export class Controllers {
  readonly distributions: Reflector<Distribution>;
  readonly #deps: ControllersDependencies;
  readonly #nodes: Reflector<NodeObject>;
  readonly #origins: Reflector<Origin>;
  readonly #namespaces: Reflector<NamespaceObject>;
  readonly #deployments: Reflector<WorkloadObject>;
  readonly #daemonSets: Reflector<WorkloadObject>;
  readonly #volumes: Reflector<VolumeObject> | undefined;
  readonly #claims: Reflector<ClaimObject> | undefined;
  readonly #events: EventRecorder;
  readonly #fleet: FleetController;
  readonly #origin: OriginController;
  readonly #workloads: Workloads;
  readonly #distribution: DistributionController;
  readonly #overdue: Overdue;
  #synced = false;
  #leading = false;
  #isStopped = false;

  constructor(options: ControllersOptions, dependencies: ControllersDependencies) {
    this.#deps = dependencies;
    const { client, logger } = dependencies;
    const { namespace } = options.fleet;
    this.distributions = this.#reflect<Distribution>(resources.distributions, {
      index: (object) => object.metadata.namespace,
      onChange: (current, previous) => this.#distribution.changed(current, previous),
    });
    this.#nodes = this.#reflect<NodeObject>(resources.nodes, {
      trim: trimNode,
      onChange: (current, previous) => {
        this.#distribution.nodeChanged(current, previous);
        this.#workloads.labels?.nodeChanged(current, previous);
      },
    });
    this.#origins = this.#reflect<Origin>(resources.origins, {
      onChange: () => this.#origin.changed(),
    });
    this.#namespaces = this.#reflect<NamespaceObject>(resources.namespaces, {
      onChange: () => this.#origin.changed(),
    });
    const workloads = {
      namespace,
      onChange: (current: WorkloadObject | undefined, previous: WorkloadObject | undefined) =>
        this.#fleet.workloadChanged(current, previous),
    };
    this.#deployments = this.#reflect<WorkloadObject>(resources.deployments, workloads);
    this.#daemonSets = this.#reflect<WorkloadObject>(resources.daemonSets, workloads);
    if (options.workloads.persistentVolumeClaims) {
      const ours = {
        ofSluice: true,
        index: distributionUidOf,
        onChange: (current: KubeObject | undefined, previous: KubeObject | undefined) =>
          this.#workloads.volumes?.objectChanged(current, previous),
      };
      this.#volumes = this.#reflect<VolumeObject>(resources.persistentVolumes, ours);
      this.#claims = this.#reflect<ClaimObject>(resources.persistentVolumeClaims, ours);
    }
    this.#events = new EventRecorder(
      { instance: options.instance },
      {
        ...dependencies,
        onDropped: (reason, error) => logger.debug('event dropped', { reason, error }),
      },
    );
    this.#fleet = new FleetController(options.fleet, {
      ...dependencies,
      deployments: this.#deployments,
      daemonSets: this.#daemonSets,
    });
    this.#origin = new OriginController({
      ...dependencies,
      origins: this.#origins,
      namespaces: this.#namespaces,
      onPolicies: () => this.#distribution.wakeAll(),
      events: this.#events,
    });
    this.#workloads = new Workloads(options.fleet, {
      ...dependencies,
      distributions: this.distributions,
      nodes: this.#nodes,
      volumes: this.#volumes,
      claims: this.#claims,
      labelsNodes: options.workloads.nodeLabels,
    });
    const api = distributionApi(client);
    this.#overdue = new Overdue({ ...dependencies, distributions: this.distributions, api });
    this.#distribution = new DistributionController({
      ...dependencies,
      distributions: this.distributions,
      nodes: this.#nodes,
      namespaces: this.#namespaces,
      api,
      fleet: this.#fleet,
      workloads: this.#workloads,
      events: this.#events,
    });
  }

  /** The copies are complete. */
  get synced(): boolean {
    return this.#synced;
  }

  get queueDepth(): number {
    return this.#distribution.depth;
  }

  /** Resolves when the copies are complete; rejects when the signal ends it before. */
  async start(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    try {
      const all = this.#reflectors();
      for (const reflector of all) reflector.start();
      await Promise.race([
        Promise.all(all.map((reflector) => reflector.synced())),
        aborted.promise,
      ]);
      this.#synced = true;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** This replica holds the Lease, and cannot lead yet. */
  hold(): void {
    this.#overdue.start();
  }

  /** Wants a coordinator that leads. The limits of the Origins come before anything else. */
  async lead(): Promise<void> {
    await this.#overdue.stop();
    // Nobody would stop what starts now.
    if (this.#isStopped) return;
    this.#leading = true;
    this.#origin.start();
    this.#fleet.start();
    this.#workloads.start();
    await this.#distribution.start();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#leading = false;
    await Promise.all([
      this.#overdue.stop(),
      this.#distribution.stop(),
      this.#origin.stop(),
      this.#fleet.stop(),
      this.#workloads.stop(),
    ]);
    this.#events.stop();
    await Promise.all(this.#reflectors().map((reflector) => reflector.stop()));
  }

  #reflectors(): Reflector<never>[] {
    return [
      this.distributions,
      this.#nodes,
      this.#origins,
      this.#namespaces,
      this.#deployments,
      this.#daemonSets,
      ...(this.#volumes === undefined ? [] : [this.#volumes]),
      ...(this.#claims === undefined ? [] : [this.#claims]),
    ] as unknown as Reflector<never>[];
  }

  #reflect<T extends KubeObject>(
    resource: Resource,
    more: {
      readonly namespace?: string;
      /** Only what the operator made. */
      readonly ofSluice?: boolean;
      readonly index?: (object: T) => string | undefined;
      readonly trim?: (object: T) => T;
      onChange(current: T | undefined, previous: T | undefined): void;
    },
  ): Reflector<T> {
    const { client, clock, random, logger } = this.#deps;
    const { namespace, ofSluice = namespace !== undefined, index, trim, onChange } = more;
    return new Reflector<T>(
      {
        path: listPath(resource, namespace),
        ...(ofSluice && { labelSelector: MANAGED }),
      },
      {
        client,
        clock,
        random,
        ...(index !== undefined && { index }),
        ...(trim !== undefined && { trim }),
        onChange: (current, previous) => {
          if (this.#leading) onChange(current, previous);
        },
        onError: (error, retryAfterMs) =>
          logger.warn('watch broke and will be resumed', {
            kind: resource.kind,
            error,
            retryAfterMs,
          }),
      },
    );
  }
}
