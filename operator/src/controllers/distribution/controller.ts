/**
 * Reconciles Distributions: gathers what is known, lets policies/ decide, and applies the verdict.
 *
 * Everything that a process is told follows from an epoch that is in the store already, so a new
 * leader tells the same.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import type { EventRecorder } from '../../kube/events.ts';
import type { NamespaceObject, NodeObject } from '../../kube/objects.ts';
import { keyOf, type Reflector } from '../../kube/reflector.ts';
import { WorkQueue } from '../../kube/workQueue.ts';
import {
  type DistributionInput,
  decideDistribution,
  hasItsPath,
  needsSource,
} from '../../policies/distribution.ts';
import { relayDemand } from '../../policies/relays.ts';
import type { Coordinator, EpochRecord, EpochStore, Troubles } from '../dataSide.ts';
import type { FleetView } from '../fleet/controller.ts';
import type { WorkloadsView } from '../workloads/workloads.ts';
import type { DistributionApi } from './api.ts';
import { Asking } from './asking.ts';
import { Completion } from './completion.ts';
import { gather } from './gather.ts';
import { Graveyard } from './graveyard.ts';
import { idleNodes } from './idleNodes.ts';
import { Memories } from './memories.ts';
import { Memory, sourceKey } from './memory.ts';
import { Mirrors } from './mirrors.ts';
import { Neighbours } from './neighbours.ts';
import { planOf, relaysOf } from './plan.ts';
import { isOverdue, Removal } from './removal.ts';
import { type EpochOver, Sourcing } from './sourcing.ts';
import { StatusWriter } from './statusWriter.ts';
import { isNews, Targets } from './targets.ts';

export interface DistributionControllerDependencies {
  readonly distributions: Reflector<Distribution>;
  readonly nodes: Reflector<NodeObject>;
  readonly namespaces: Reflector<NamespaceObject>;
  readonly api: DistributionApi;
  readonly coordinator: Coordinator;
  readonly epochs: EpochStore;
  readonly troubles: Troubles;
  readonly fleet: FleetView;
  readonly workloads: WorkloadsView;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly random: Random;
  /** RFC 3339, UTC: for people who read it, never compared. */
  wallTime(): string;
  readonly logger: Logger;
  /** From when a Distribution was due to when its reconciliation had ended. */
  onReconciled?(latencyMs: number): void;
}

/** Plans and status are made again so often even if nothing seems to have changed. */
const RESYNC_MS = 60_000;
/** While nothing else would wake it: relays that do not come, nodes that stand still. */
const WATCHFUL_MS = 5_000;
/** Most origins have answered by then. */
const SOON_MS = 250;
/** Nodes come and go in groups. */
const NODES_SETTLE_MS = 250;
/**
 * A worker waits for the API server and the database most of its time. Beside ten thousand agents the
 * event loop is what all wait for: with 32 the last of a hundred had its first task after 54 s, with 8
 * after 20 (ADR 41).
 */
const CONCURRENCY = 8;

export class DistributionController {
  readonly #deps: DistributionControllerDependencies;
  readonly #queue: WorkQueue;
  readonly #status: StatusWriter;
  readonly #graveyard: Graveyard;
  readonly #removal: Removal;
  readonly #sourcing: Sourcing;
  readonly #asking: Asking;
  readonly #completion: Completion;
  readonly #mirrors: Mirrors;
  readonly #targets: Targets;
  readonly #neighbours: Neighbours;
  readonly #memories = new Memories();
  /** Keys not worked on since the start; undefined once all were. */
  #unprimed: Set<string> | undefined;
  #nodesTimer: Timer | undefined;

  constructor(dependencies: DistributionControllerDependencies) {
    this.#deps = dependencies;
    const { clock, random, logger } = dependencies;
    this.#status = new StatusWriter(dependencies);
    this.#graveyard = new Graveyard({
      ...dependencies,
      nodeExists: (name) => dependencies.nodes.get(name) !== undefined,
      namespaceOf: (name) => {
        const metadata = dependencies.namespaces.get(name)?.metadata;
        return metadata && { uid: metadata.uid, isGoing: metadata.deletionTimestamp !== undefined };
      },
    });
    this.#targets = new Targets(dependencies.nodes);
    this.#neighbours = new Neighbours(dependencies.distributions);
    this.#removal = new Removal({ ...dependencies, graveyard: this.#graveyard });
    this.#sourcing = new Sourcing(dependencies);
    this.#asking = new Asking((key) => this.#queue.add(key));
    this.#completion = new Completion({
      ...dependencies,
      failed: (key) => this.#queue.addAfter(key, WATCHFUL_MS),
    });
    this.#mirrors = new Mirrors({ ...dependencies, changed: (key) => this.#queue.add(key) });
    this.#queue = new WorkQueue(
      { concurrency: CONCURRENCY },
      {
        clock,
        random,
        work: (key, signal) =>
          this.#reconcile(key, signal).finally(() => {
            if (!signal.aborted) this.#primed(key);
          }),
        onDone: (latencyMs) => dependencies.onReconciled?.(latencyMs),
        onError: (key, error, retryAfterMs) =>
          logger.warn('distribution will be tried again', { key, error, retryAfterMs }),
      },
    );
  }

  get depth(): number {
    return this.#queue.depth;
  }

  /** Wants synced reflectors; forgets epochs whose Distribution vanished while nobody led. */
  async start(): Promise<void> {
    const { coordinator, distributions, epochs, fleet, workloads } = this.#deps;
    coordinator.onChange((uid) => this.#wake(uid));
    workloads.onChange((uid) => this.#wake(uid));
    this.#nameNodes();
    fleet.onChange(() => this.#lookAtAll(0));
    // What a leader of the past adopts between the two is in both.
    await this.#graveyard.load();
    const living = await epochs.living();
    // After it, and from the API server itself: a copy that is watched may lack one that has a row.
    await distributions.refresh();
    const existing = new Set([...distributions.list()].map((object) => object.metadata.uid));
    for (const { uid, owner } of living) {
      if (!existing.has(owner)) await this.#forget(uid);
    }
    this.#unprimed = new Set([...distributions.list()].map(keyOf));
    this.#primed('');
    this.wakeAll();
    this.#queue.start();
  }

  async stop(): Promise<void> {
    this.#nodesTimer?.cancel();
    const parts = [this.#queue, this.#graveyard, this.#mirrors, this.#asking, this.#completion];
    await Promise.all(parts.map((part) => part.stop()));
  }

  /** A Distribution was added, changed or deleted; its neighbours may now have their path. */
  changed(current: Distribution | undefined, previous: Distribution | undefined): void {
    const object = current ?? previous;
    if (object === undefined) return;
    this.#neighbours.changed(current, previous);
    const memory = this.#memories.of(keyOf(object));
    // It says what was decided: to decide again would say the same.
    if (memory?.ownWrites.isEcho(current, previous)) return;
    this.#queue.add(keyOf(object));
    if (current !== undefined) return;
    this.#deps.workloads.forget(object.metadata.uid);
    for (const neighbour of this.#deps.distributions.indexed(object.metadata.namespace)) {
      this.#queue.add(keyOf(neighbour));
    }
  }

  nodeChanged(current: NodeObject | undefined, previous: NodeObject | undefined): void {
    this.#targets.nodeChanged(current, previous);
    if (!isNews(current, previous)) return;
    if (current === undefined || previous === undefined) this.#nodesSoon();
    this.#lookAtAll(NODES_SETTLE_MS);
  }

  /** Nobody waits for it. */
  #lookAtAll(inMs: number): void {
    for (const object of this.#deps.distributions.list()) this.#queue.addAfter(keyOf(object), inMs);
  }

  /** Nodes come and go in groups: they are named once for all. */
  #nodesSoon(): void {
    this.#nodesTimer ??= this.#deps.clock.setTimer(NODES_SETTLE_MS, () => this.#nameNodes());
  }

  #nameNodes(): void {
    this.#nodesTimer = undefined;
    const { coordinator, nodes } = this.#deps;
    coordinator.setNodes(new Set([...nodes.list()].map((node) => node.metadata.name)));
  }

  wakeAll(): void {
    for (const object of this.#deps.distributions.list()) this.#queue.add(keyOf(object));
  }

  /** What could be said of this key has been said. */
  #primed(key: string): void {
    this.#unprimed?.delete(key);
    if (this.#unprimed?.size !== 0) return;
    this.#unprimed = undefined;
    this.#deps.coordinator.primed();
    this.#deps.workloads.primed();
    // Who is there adopts first: what is due is deleted only then.
    this.#graveyard.start();
  }

  #wake(uid: string): void {
    const key = this.#memories.keyOf(uid);
    const memory = key === undefined ? undefined : this.#memories.of(key);
    if (key === undefined || memory === undefined) return;
    this.#queue.addAfter(key, memory.lookDueInMs(this.#deps.clock.now()));
  }

  async #reconcile(key: string, signal: AbortSignal): Promise<void> {
    const distribution = this.#deps.distributions.get(key);
    const known = this.#memories.of(key);
    if (known !== undefined && known.owner !== distribution?.metadata.uid) {
      this.#leave(key, known);
      // Deleted behind the finalizer's back, and perhaps made anew under the same name. What is in
      // its grave stays there: only the answer about the finalizer was lost.
      if (!known.isBuried) await this.#forget(known.uid);
    }
    if (distribution === undefined) return;
    const memory = await this.#remember(key, distribution).catch(async (error: unknown) => {
      if (await this.#letGoUnread(distribution, signal)) return undefined;
      await this.#tellUnread(distribution, error, signal);
      throw error;
    });
    if (memory === undefined) return;
    await this.#act(key, distribution, memory, signal);
  }

  async #remember(key: string, distribution: Distribution): Promise<Memory> {
    const { uid } = distribution.metadata;
    let memory = this.#memories.of(key);
    if (memory === undefined) {
      const record = await this.#deps.epochs.load(uid);
      memory = new Memory(uid, record, this.#deps.clock.now());
      // Deleted under a leader before this one.
      const grave = record === undefined ? this.#graveyard.graveOf(uid) : undefined;
      memory.isBuried = grave !== undefined;
      memory.uid = record?.uid ?? grave?.uid ?? uid;
      this.#memories.add(key, memory);
    }
    memory.forgetOldSource(distribution.spec.source);
    return memory;
  }

  /** True when it was deleted so long ago that it does not wait for the database: its files stay. */
  async #letGoUnread(distribution: Distribution, signal: AbortSignal): Promise<boolean> {
    const { api, logger, troubles, wallTime } = this.#deps;
    const isLate = isOverdue(distribution.metadata, Date.parse(wallTime()));
    if (!isLate || !troubles.isDatabaseAway()) return false;
    await api.dropFinalizer(distribution, signal);
    const fields = { distribution: keyOf(distribution) };
    logger.warn('deleted without the database: its files stay on the nodes', fields);
    return true;
  }

  /** Nothing is known of it, and the database that may know does not answer. */
  async #tellUnread(
    distribution: Distribution,
    error: unknown,
    signal: AbortSignal,
  ): Promise<void> {
    // What an earlier leader has written is worth more.
    if (signal.aborted || distribution.status?.epoch !== undefined) return;
    const { uid } = distribution.metadata;
    const memory = new Memory(uid, undefined, this.#deps.clock.now());
    this.#sourcing.failed(distribution, memory, error);
    await this.#status.write(distribution, memory, this.#gather(distribution, memory), signal);
  }

  async #act(
    key: string,
    distribution: Distribution,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<void> {
    const { api, fleet } = this.#deps;
    const input = this.#gather(distribution, memory);
    const verdict = decideDistribution(input);
    if (verdict.action !== 'resolve') this.#asking.drop(key);
    if (verdict.action === 'remove') return this.#remove(key, distribution, memory, signal);
    if (!needsSource(input) && !memory.lacksCredentials) memory.forgetFailure();
    const marked = await api.ensureFinalizer(distribution, signal);
    if (marked !== undefined) memory.saw(marked);
    if (hasItsPath(verdict) && (await this.#adopt(key, distribution, memory))) {
      return this.#act(key, distribution, memory, signal);
    }
    switch (verdict.action) {
      case 'hold':
        if (verdict.serve) await this.#serve(distribution, memory, verdict.serve, input, signal);
        // Relays may have pieces that no node has.
        if (verdict.serve && !input.spec.suspend)
          this.#demandRelays(distribution, memory, input, verdict.serve);
        else fleet.setDemand(memory.uid, undefined);
        break;
      case 'suspend':
        fleet.setDemand(memory.uid, undefined);
        if (verdict.record) await this.#serve(distribution, memory, verdict.record, input, signal);
        break;
      case 'serve':
        await this.#serve(distribution, memory, verdict.record, input, signal);
        this.#demandRelays(distribution, memory, input, verdict.record);
        break;
      case 'resolve':
        if (verdict.serve) {
          await this.#serve(distribution, memory, verdict.serve, input, signal);
        }
        // Relays start while the origin is asked; a source that failed gets none, but for the epoch
        // before, which goes on.
        if (memory.failure === undefined || verdict.serve !== undefined)
          this.#demandRelays(distribution, memory, input, verdict.serve);
        else fleet.setDemand(memory.uid, undefined);
        if (await this.#resolve(key, distribution, memory, input, signal)) {
          return this.#act(key, distribution, memory, signal);
        }
        if (this.#isAnsweredSoon(key, memory)) return;
        break;
    }
    await this.#report(key, distribution, memory, signal);
  }

  /** True when it took over the files of one that was deleted from its path. */
  async #adopt(
    key: string,
    { metadata: { uid, name, namespace }, spec }: Distribution,
    memory: Memory,
  ): Promise<boolean> {
    if (memory.record !== undefined) return false;
    const heir = { owner: uid, name };
    const record = await this.#graveyard.adopt(heir, namespace, spec.target.path);
    if (record === undefined) return false;
    this.#memories.name(record.uid, key);
    this.#deps.fleet.setDemand(memory.uid, undefined);
    memory.begin(record, this.#deps.clock.now());
    const fields = { distribution: key, uid: record.uid, epoch: record.epoch };
    this.#deps.logger.info('files of a deleted distribution are adopted', fields);
    return true;
  }

  #gather(distribution: Distribution, memory: Memory): DistributionInput {
    const { coordinator } = this.#deps;
    return gather({
      distribution,
      neighbours: this.#neighbours.of(distribution),
      nodes: this.#targets.of(distribution.spec),
      record: memory.record,
      progress: coordinator.progress(memory.uid),
      failure: memory.failure,
      refusal: coordinator.refusalOf({
        uid: memory.uid,
        namespace: distribution.metadata.namespace ?? '',
        url: distribution.spec.source.url,
      }),
    });
  }

  /**
   * Hands the epoch to those who work on it. Also without the credentials: whoever is not told of it
   * lets go of it, and would go on though it is suspended.
   */
  async #serve(
    distribution: Distribution,
    memory: Memory,
    record: EpochRecord,
    input: DistributionInput,
    signal: AbortSignal,
  ): Promise<void> {
    const headers = await this.#sourcing.headers(distribution, memory, signal);
    if (headers !== undefined) {
      const key = keyOf(distribution);
      const dueInMs = this.#mirrors.look(key, distribution, memory, headers);
      if (dueInMs !== undefined) this.#queue.addAfter(key, dueInMs);
    }
    // With the mirrors that are known by now.
    const newest = memory.record?.epoch === record.epoch ? memory.record : record;
    this.#deps.coordinator.apply(planOf(input.spec, newest, headers, input.nodes));
  }

  #demandRelays(
    { metadata }: Distribution,
    memory: Memory,
    input: DistributionInput,
    record: EpochRecord | undefined,
  ): void {
    const progress = this.#deps.coordinator.progress(memory.uid);
    // Relays for nodes that have everything would stay for minutes.
    if (progress?.isUnread === true) return;
    const relays = relaysOf(input.spec.relays, memory.uid, metadata.namespace);
    const isIdle = idleNodes(memory, record, progress);
    this.#deps.fleet.setDemand(memory.uid, relayDemand(input.nodes, isIdle, relays));
  }

  /**
   * True when there is a new epoch. Nothing is waited for here: what the origin answers is looked at
   * when it is there.
   */
  async #resolve(
    key: string,
    distribution: Distribution,
    memory: Memory,
    over: EpochOver,
    signal: AbortSignal,
  ): Promise<boolean> {
    const source = sourceKey(distribution.spec.source);
    const answer = this.#asking.take(key, source);
    if (answer !== undefined) {
      memory.askedMs = Number.NEGATIVE_INFINITY;
      return this.#sourcing.heard(distribution, memory, over, answer);
    }
    if (this.#asking.isAsking(key, source)) return false;
    const waitMs = memory.nextTryMs - this.#deps.clock.now();
    if (waitMs > 0) {
      // Said here, where it is found: by the time of the report it may have come, and nobody would.
      this.#queue.addAfter(key, waitMs);
      return false;
    }
    const question = await this.#sourcing.question(distribution, memory, signal);
    if (question === undefined) return false;
    memory.askedMs = this.#deps.clock.now();
    this.#asking.begin(key, question);
    return false;
  }

  /** Then the status is made of the answer, and not of the question just before it. */
  #isAnsweredSoon(key: string, memory: Memory): boolean {
    const nowMs = this.#deps.clock.now();
    const leftMs = memory.askedMs + SOON_MS - nowMs;
    if (leftMs <= 0) return false;
    memory.looked(nowMs);
    this.#queue.addAfter(key, leftMs);
    return true;
  }

  async #report(
    key: string,
    distribution: Distribution,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<void> {
    const input = this.#gather(distribution, memory);
    const nowMs = this.#deps.clock.now();
    const verdict = decideDistribution(input);
    const progress = this.#deps.coordinator.progress(memory.uid);
    // The younger of two with one path has no files for pods, nor has one that is going.
    if (verdict.action !== 'remove' && hasItsPath(verdict) && progress?.isUnread !== true) {
      this.#deps.workloads.want(distribution, progress);
    }
    const result = await this.#status.write(distribution, memory, input, signal);
    this.#completion.look(key, memory);
    if (result.dueInMs !== undefined) this.#queue.addAfter(key, result.dueInMs);
    else if (memory.failure !== undefined && memory.nextTryMs > nowMs) {
      this.#queue.addAfter(key, memory.nextTryMs - nowMs);
    } else this.#queue.addAfter(key, result.settled ? RESYNC_MS : WATCHFUL_MS);
  }

  /** The object goes when nobody works on it any more. */
  async #remove(
    key: string,
    distribution: Distribution,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<void> {
    this.#deps.fleet.setDemand(memory.uid, undefined);
    if (!(await this.#removal.step(key, distribution, memory))) {
      await this.#report(key, distribution, memory, signal);
      this.#queue.addAfter(key, 500);
      return;
    }
    await this.#deps.workloads.release(distribution.metadata, signal);
    await this.#deps.api.dropFinalizer(distribution, signal);
    this.#leave(key, memory);
  }

  #leave(key: string, memory: Memory): void {
    this.#asking.drop(key);
    this.#memories.forget(key, memory);
  }

  /** Without a Distribution nobody said that files are to be deleted: they stay. */
  async #forget(uid: string): Promise<void> {
    const { coordinator, epochs, fleet } = this.#deps;
    fleet.setDemand(uid, undefined);
    coordinator.remove(uid, { deleteFiles: false });
    await epochs.delete(uid);
  }
}
