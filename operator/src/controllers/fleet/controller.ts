/**
 * Keeps the relays (a Deployment for each topology domain in which nodes wait) and the agents (one
 * DaemonSet), in the operator's own namespace. What others change of them is set right again.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import { type AppliedObject, enforceObject } from '../../kube/apply.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import type { WorkloadObject } from '../../kube/objects.ts';
import { objectPath, type Resource, resources } from '../../kube/paths.ts';
import type { Reflector } from '../../kube/reflector.ts';
import { WorkQueue } from '../../kube/workQueue.ts';
import {
  isAllowedKey,
  type RelayAsk,
  type RelayDemand,
  type RelayNeed,
  relayAsks,
  relayNeeds,
  relaysKey,
} from '../../policies/relays.ts';
import type { RelayState } from '../../policies/relaysAvailable.ts';
import { Healing } from './healing.ts';
import {
  agentDaemonSet,
  DEDICATED_LABEL,
  DOMAIN_LABEL,
  type FleetOptions,
  type Owner,
  relayDeployment,
  relayDisruptionBudget,
  relayName,
  TOPOLOGY_KEY_ANNOTATION,
} from './manifests.ts';
import { RelayScaling } from './scaling.ts';

/** Which relays of a domain. */
export type RelaysOf = Pick<RelayNeed, 'topologyKey' | 'dedicatedTo'>;

/** What the distributions' controller says to the fleet's, and asks of it. */
export interface FleetView {
  /** Undefined: this distribution needs no relays now. */
  setDemand(uid: string, demand: RelayDemand | undefined): void;
  relayStates(of: RelaysOf, domains: ReadonlySet<string>): RelayState[];
  /** Called when a domain gets its first relay, or loses its last. */
  onChange(listener: () => void): void;
}

export interface FleetControllerDependencies {
  readonly client: KubeClient;
  /** Of the operator's namespace, with the label managed-by. */
  readonly deployments: Reflector<WorkloadObject>;
  readonly daemonSets: Reflector<WorkloadObject>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const KEY = 'fleet';
const OPERATOR_DEPLOYMENT = 'sluice-operator';
/** It is looked again so often whether all is as it was applied. */
const HEAL_MS = 60_000;
/** Everything is applied again so often, whatever the copies say. */
const APPLY_ANEW_MS = 30 * 60_000;
/** A budget is nobody's copy: it is applied again so often. One that is wrong holds up a drain. */
const BUDGET_MS = 10 * 60_000;
/** Demands that come together are answered together. */
const SETTLE_MS = 20;

const NO_ASKS = '[]';

interface Applied {
  readonly text: string;
  readonly atMs: number;
  readonly generation: number | undefined;
}

type DeploymentState = 'available' | 'missing' | 'leaving' | 'gone';

export class FleetController implements FleetView {
  readonly #options: FleetOptions;
  readonly #deps: FleetControllerDependencies;
  readonly #queue: WorkQueue;
  readonly #scaling: RelayScaling;
  readonly #demands = new Map<string, { readonly demand: RelayDemand; readonly text: string }>();
  /** Of all demands, by `relaysKey`. */
  #asks: ReadonlyMap<string, RelayAsk> = new Map();
  /** What they get of it. */
  #needs: ReadonlyMap<string, RelayNeed> = new Map();
  readonly #applied = new Map<string, Applied>();
  readonly #healing: Healing;
  /** Of Deployments that are not gone, as was told last. */
  readonly #states = new Map<string, DeploymentState>();
  readonly #missingSinceMs = new Map<string, number>();
  #running = new Map<string, RelayNeed>();
  #owner: Owner | undefined;
  #listener: () => void = () => {};

  constructor(options: FleetOptions, dependencies: FleetControllerDependencies) {
    this.#options = options;
    this.#deps = dependencies;
    this.#healing = new Healing(dependencies);
    this.#scaling = new RelayScaling(
      options.relayIdleSeconds * 1000,
      options.relayBounds.maxRelays,
    );
    const { clock, random, logger } = dependencies;
    this.#queue = new WorkQueue(
      { concurrency: 1 },
      {
        clock,
        random,
        work: (_key, signal) => this.#reconcile(signal),
        onError: (_key, error, retryAfterMs) =>
          logger.warn('fleet will be tried again', { error, retryAfterMs }),
      },
    );
  }

  /** Wants synced reflectors. */
  start(): void {
    const nowMs = this.#deps.clock.now();
    for (const { metadata, spec } of this.#deps.deployments.list()) {
      const domain = metadata.labels?.[DOMAIN_LABEL];
      const topologyKey = metadata.annotations?.[TOPOLOGY_KEY_ANNOTATION];
      if (domain === undefined || topologyKey === undefined) continue;
      const dedicatedTo = metadata.labels?.[DEDICATED_LABEL];
      const own = dedicatedTo === undefined ? {} : { dedicatedTo };
      const need = { domain, topologyKey, ...own, replicas: spec?.replicas ?? 1 };
      this.#scaling.adopt(need, nowMs);
    }
    this.#queue.add(KEY);
    this.#queue.start();
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
  }

  onChange(listener: () => void): void {
    this.#listener = listener;
  }

  setDemand(uid: string, demand: RelayDemand | undefined): void {
    // Said at each look at each distribution, and mostly what was said before: not all are counted anew.
    const text = JSON.stringify(relayAsks(demand === undefined ? [] : [demand]));
    if (text === (this.#demands.get(uid)?.text ?? NO_ASKS)) return;
    if (demand === undefined || text === NO_ASKS) this.#demands.delete(uid);
    else this.#demands.set(uid, { demand, text });
    const before = JSON.stringify([...this.#needs.values()]);
    const asks = relayAsks([...this.#demands.values()].map((each) => each.demand));
    this.#asks = byKey(asks);
    this.#needs = byKey(relayNeeds(asks, this.#options.relayBounds));
    if (JSON.stringify([...this.#needs.values()]) !== before) this.#queue.addAfter(KEY, SETTLE_MS);
  }

  relayStates(of: RelaysOf, domains: ReadonlySet<string>): RelayState[] {
    const nowMs = this.#deps.clock.now();
    return [...domains].sort().map((domain) => {
      const name = relayName({ ...of, domain });
      const missingSinceMs = this.#missingSinceMs.get(name);
      return {
        domain,
        desired: this.#running.get(name)?.replicas ?? 0,
        available: this.#available(name),
        ...(missingSinceMs !== undefined && { missingForMs: nowMs - missingSinceMs }),
        ...this.#boundOf({ ...of, domain }),
      };
    });
  }

  /** Where the cluster's owner lets it have fewer than it asks for. */
  #boundOf(of: RelaysOf & { readonly domain: string }): Pick<RelayState, 'bound'> {
    const { relayBounds } = this.#options;
    const key = relaysKey(of);
    const asked = this.#asks.get(key)?.replicas ?? 0;
    const granted = this.#needs.get(key)?.replicas ?? 0;
    if (asked <= granted) return {};
    const isAllowed = isAllowedKey(of.topologyKey, relayBounds);
    const { topologyKeys } = relayBounds;
    return { bound: { asked, granted, ...(!isAllowed && { topologyKeys }) } };
  }

  /** A Deployment or DaemonSet changed: its state, or its spec by a stranger. */
  workloadChanged(current: WorkloadObject | undefined, previous: WorkloadObject | undefined): void {
    const { metadata } = (current ?? previous)!;
    this.#watchAvailability(metadata.name);
    const ours = this.#applied.get(metadata.name);
    if (ours !== undefined && current?.metadata.generation !== ours.generation) {
      this.#queue.addAfter(KEY, SETTLE_MS);
    }
  }

  #available(name: string): number {
    const key = `${this.#options.namespace}/${name}`;
    return this.#deps.deployments.get(key)?.status?.availableReplicas ?? 0;
  }

  #watchAvailability(name: string): void {
    const state = stateOf(this.#running.has(name), this.#available(name) > 0);
    if (state === (this.#states.get(name) ?? 'gone')) return;
    if (state === 'gone') this.#states.delete(name);
    else this.#states.set(name, state);
    if (state === 'missing') this.#missingSinceMs.set(name, this.#deps.clock.now());
    else this.#missingSinceMs.delete(name);
    this.#listener();
  }

  async #reconcile(signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    this.#owner ??= await this.#findOwner(signal);
    const daemonSet = agentDaemonSet(this.#options, this.#owner);
    await this.#apply(resources.daemonSets, daemonSet, this.#deps.daemonSets, signal);
    const { run, againInMs } = this.#scaling.decide([...this.#needs.values()], clock.now());
    this.#running = new Map(run.map((need) => [relayName(need), need] as const));
    for (const [name, need] of this.#running) {
      const deployment = relayDeployment(this.#options, this.#owner, need);
      const uid = await this.#apply(
        resources.deployments,
        deployment,
        this.#deps.deployments,
        signal,
      );
      this.#watchAvailability(name);
      await this.#budget(need, uid, signal);
    }
    await this.#deleteOthers(signal);
    this.#queue.addAfter(KEY, Math.min(HEAL_MS, againInMs ?? HEAL_MS));
  }

  /** Nobody watches it: what a stranger changes is set right within BUDGET_MS. */
  async #budget(need: RelayNeed, uid: string, signal: AbortSignal): Promise<void> {
    const { client, clock } = this.#deps;
    const budget = relayDisruptionBudget(this.#options, need, uid);
    const key = `budget/${budget.metadata.name}`;
    const text = JSON.stringify(budget);
    const before = this.#applied.get(key);
    const isRecent = before !== undefined && clock.now() - before.atMs < BUDGET_MS - HEAL_MS / 2;
    if (isRecent && before.text === text) return;
    await enforceObject(client, resources.podDisruptionBudgets, budget, signal);
    this.#applied.set(key, { text, atMs: clock.now(), generation: undefined });
  }

  /**
   * Skipped while the object is as it was applied: a stranger's edit of its spec raises its
   * generation, and one of its metadata shows. Answers its uid.
   */
  async #apply(
    resource: Resource,
    object: AppliedObject,
    copies: Reflector<WorkloadObject>,
    signal: AbortSignal,
  ): Promise<string> {
    const { name } = object.metadata;
    const text = JSON.stringify(object);
    const before = this.#applied.get(name);
    const nowMs = this.#deps.clock.now();
    const copy = copies.get(`${this.#options.namespace}/${name}`);
    const untouched =
      copy !== undefined &&
      copy.metadata.generation === before?.generation &&
      hasMetadataOf(copy, object);
    const recent = before !== undefined && nowMs - before.atMs < APPLY_ANEW_MS;
    if (untouched && recent && before.text === text) return copy.metadata.uid;
    const applied = await enforceObject<WorkloadObject>(
      this.#deps.client,
      resource,
      object,
      signal,
    );
    const { object: written, isToTryAgain } = await this.#healing.heal(resource, applied, signal);
    const { generation } = written.metadata;
    // Then the next look does not go by the copy.
    const atMs = isToTryAgain ? Number.NEGATIVE_INFINITY : nowMs;
    this.#applied.set(name, { text, atMs, generation });
    if (before?.text !== text || before.generation !== generation) {
      this.#deps.logger.info('workload applied', { kind: resource.kind, name });
    }
    return written.metadata.uid;
  }

  async #deleteOthers(signal: AbortSignal): Promise<void> {
    for (const { metadata } of [...this.#deps.deployments.list()]) {
      const isRelay = metadata.labels?.[DOMAIN_LABEL] !== undefined;
      if (!isRelay || this.#running.has(metadata.name) || metadata.deletionTimestamp) continue;
      await this.#delete(metadata.name, metadata.uid, signal);
      this.#applied.delete(metadata.name);
      this.#healing.forget(metadata.name);
      this.#applied.delete(`budget/${metadata.name}`);
      this.#watchAvailability(metadata.name);
    }
  }

  async #delete(name: string, uid: string, signal: AbortSignal): Promise<void> {
    const { client, logger } = this.#deps;
    try {
      await client.request({
        method: 'DELETE',
        path: objectPath(resources.deployments, { namespace: this.#options.namespace, name }),
        body: {
          apiVersion: 'v1',
          kind: 'DeleteOptions',
          propagationPolicy: 'Background',
          preconditions: { uid },
        },
        signal,
      });
      logger.info('relays deleted', { name });
    } catch (error) {
      if (!isKubeError(error, 'NotFound', 'Conflict')) throw error;
    }
  }

  /** Undefined when the operator does not run from its chart, as in tests. */
  async #findOwner(signal: AbortSignal): Promise<Owner | undefined> {
    const { namespace } = this.#options;
    const path = objectPath(resources.deployments, { namespace, name: OPERATOR_DEPLOYMENT });
    try {
      const found = await this.#deps.client.request<WorkloadObject>({
        method: 'GET',
        path,
        signal,
      });
      return { name: found.metadata.name, uid: found.metadata.uid };
    } catch (error) {
      if (isKubeError(error, 'NotFound')) return undefined;
      throw error;
    }
  }
}

function byKey<T extends RelayNeed>(needs: readonly T[]): ReadonlyMap<string, T> {
  return new Map(needs.map((need) => [relaysKey(need), need]));
}

/** Labels, annotations and owners that were applied are there; others may be, too. */
function hasMetadataOf({ metadata }: WorkloadObject, object: AppliedObject): boolean {
  const { labels = {}, annotations = {}, ownerReferences = [] } = object.metadata;
  const has = (own: Readonly<Record<string, string>>, there: typeof own | undefined) =>
    Object.entries(own).every(([key, value]) => there?.[key] === value);
  return (
    has(labels, metadata.labels) &&
    has(annotations, metadata.annotations) &&
    (ownerReferences.length === 0 || (metadata.ownerReferences?.length ?? 0) > 0)
  );
}

function stateOf(isToRun: boolean, isAvailable: boolean): DeploymentState {
  if (isToRun) return isAvailable ? 'available' : 'missing';
  return isAvailable ? 'leaving' : 'gone';
}
