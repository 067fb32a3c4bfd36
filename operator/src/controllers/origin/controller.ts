/** Hands what the Origins say to those who lease, and shows in their status what is leased. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import type { Origin } from '../../api/v1alpha1/origin.ts';
import { applyStatus } from '../../kube/apply.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import type { EventRecorder } from '../../kube/events.ts';
import type { NamespaceObject } from '../../kube/objects.ts';
import { listPath, resources } from '../../kube/paths.ts';
import { keyOf, type Reflector } from '../../kube/reflector.ts';
import { WorkQueue } from '../../kube/workQueue.ts';
import { sameStatus } from '../../policies/distributionStatus.ts';
import { type Limiting, notLimiting, seeLimiting, tellLimiting } from '../../policies/limiting.ts';
import { decideOrigins, type OriginVerdict } from '../../policies/origin.ts';
import { originEvent, stalledEvent } from '../../policies/originEvents.ts';
import { isOvertaken } from '../../policies/originJournals.ts';
import { limitingReason, originStatus } from '../../policies/originStatus.ts';
import { type Told, tell } from '../../policies/toldEvents.ts';
import type { Coordinator, MeterDisagreement, MeterReason } from '../dataSide.ts';

export interface OriginControllerDependencies {
  readonly client: KubeClient;
  readonly origins: Reflector<Origin>;
  readonly namespaces: Reflector<NamespaceObject>;
  /** Other limits, or other namespaces, than before. */
  readonly onPolicies: () => void;
  readonly coordinator: Coordinator;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly random: Random;
  wallTime(): string;
  readonly logger: Logger;
}

/** Usage changes all the time while something is pulled; people look at it every few seconds. */
const STATUS_INTERVAL_MS = 2_000;
/** Whoever writes and does not lead any more steps down meanwhile. */
const CONFLICT_MS = 200;

/** The object as this replica wrote it last, or found it when somebody else had written. */
interface Written {
  readonly uid: string;
  readonly resourceVersion: string | undefined;
  readonly status: Origin['status'];
}

export class OriginController {
  readonly #deps: OriginControllerDependencies;
  readonly #queue: WorkQueue;
  readonly #written = new Map<string, Written>();
  readonly #limiting = new Map<string, Limiting>();
  /** Of meters that disagreed. */
  readonly #told = new Map<string, Told<MeterReason>>();
  #verdicts: ReadonlyMap<string, OriginVerdict> = new Map();
  #policies = '';

  constructor(dependencies: OriginControllerDependencies) {
    this.#deps = dependencies;
    const { clock, random, logger } = dependencies;
    this.#queue = new WorkQueue(
      { concurrency: 2 },
      {
        clock,
        random,
        work: (name, signal) => this.#reconcile(name, signal),
        onError: (origin, error, retryAfterMs) =>
          logger.warn('origin will be tried again', { origin, error, retryAfterMs }),
      },
    );
  }

  /** Wants a synced reflector: the limits must hold before the first byte is leased. */
  start(): void {
    this.changed();
    this.#deps.coordinator.onOriginChange((name) => this.#queue.add(name));
    this.#queue.start();
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
  }

  /** Any Origin or namespace was added, changed or deleted: a host may have another owner now. */
  changed(): void {
    const { origins, coordinator, namespaces, onPolicies } = this.#deps;
    const facts = [...origins.list()].map(({ metadata, spec }) => ({
      name: metadata.name,
      uid: metadata.uid,
      createdAt: metadata.creationTimestamp,
      spec,
    }));
    const labels = [...namespaces.list()].map(({ metadata }) => ({
      name: metadata.name,
      labels: metadata.labels ?? {},
    }));
    this.#verdicts = decideOrigins(facts, labels);
    const policies = [...this.#verdicts.values()].flatMap(({ policy }) => policy ?? []);
    const text = JSON.stringify(policies);
    if (text !== this.#policies) {
      this.#policies = text;
      coordinator.setOrigins(policies);
      onPolicies();
    }
    for (const { name } of facts) this.#queue.add(name);
  }

  async #reconcile(name: string, signal: AbortSignal): Promise<void> {
    const { client, clock, coordinator, origins, wallTime } = this.#deps;
    const origin = origins.get(name);
    const verdict = this.#verdicts.get(name);
    if (origin === undefined || verdict === undefined) {
      this.#written.delete(name);
      this.#limiting.delete(name);
      this.#told.delete(name);
      return;
    }
    const { uid } = origin.metadata;
    const known = this.#written.get(name);
    const seen = known?.uid === uid ? known : { ...origin.metadata, status: origin.status };
    const previous = seen.status;
    const usage = coordinator.originUsage(name);
    const limitingBefore = this.#limiting.get(name) ?? notLimiting;
    const limiting = seeLimiting(limitingBefore, usage?.heldBack ?? [], clock.now());
    this.#limiting.set(name, limiting);
    const journals = coordinator.originJournals(name);
    const status = originStatus({
      generation: origin.metadata.generation ?? 0,
      previous,
      verdict,
      usage,
      heldBack: limiting.heldBack,
      nameOf: (of) => coordinator.nameOf(of),
      journals,
      now: wallTime(),
    });
    this.#queue.addAfter(name, STATUS_INTERVAL_MS);
    if (sameStatus(previous, status)) {
      coordinator.originMarked(journals?.marks ?? []);
      return;
    }
    // Nothing is written over what a leader after this one has: its marks are further on.
    if (isOvertaken(journals, previous)) return;
    const metadata = { name, uid, resourceVersion: seen.resourceVersion };
    try {
      const object = { metadata, status };
      const written = await applyStatus<Origin>(client, resources.origins, object, signal);
      this.#written.set(name, { ...written.metadata, status });
    } catch (error) {
      if (isKubeError(error, 'Conflict')) return this.#lookAgain(name, signal);
      if (isKubeError(error, 'NotFound')) return;
      throw error;
    }
    coordinator.originMarked(journals?.marks ?? []);
    this.#tell(origin, previous, status);
    this.#tellMeters(origin, usage?.disagreements[0], status);
  }

  /** Not in the copy that is watched: it may stand still for as long as a connection seems to live. */
  async #lookAgain(name: string, signal: AbortSignal): Promise<void> {
    const query = { fieldSelector: `metadata.name=${name}` };
    const path = listPath(resources.origins);
    const { items } = await this.#deps.client.request<{ items: readonly Origin[] }>({
      method: 'GET',
      path,
      query,
      signal,
    });
    const [found] = items;
    if (found === undefined) this.#written.delete(name);
    else this.#written.set(name, { ...found.metadata, status: found.status });
    this.#queue.addAfter(name, CONFLICT_MS);
  }

  /** What began, and what a limit does to whom: once, not each time that it is looked at. */
  #tell(origin: Origin, previous: Origin['status'], status: NonNullable<Origin['status']>): void {
    const { clock, events } = this.#deps;
    const { name, uid } = origin.metadata;
    const subject = { resource: resources.origins, name: keyOf(origin), uid };
    const stalled = stalledEvent(previous, status);
    if (stalled !== undefined) events.record(subject, stalled);
    const limiting = this.#limiting.get(name) ?? notLimiting;
    const reason = limitingReason(limiting.heldBack);
    const told = tellLimiting(limiting, reason, clock.now());
    this.#limiting.set(name, told.limiting);
    const note = status.conditions?.find(({ type }) => type === 'Limiting')?.message;
    if (!told.isDue || reason === undefined || note === undefined) return;
    events.record(subject, originEvent(reason, note));
  }

  #tellMeters(
    origin: Origin,
    latest: MeterDisagreement | undefined,
    status: NonNullable<Origin['status']>,
  ): void {
    const { clock, events } = this.#deps;
    const { name, uid } = origin.metadata;
    const before = this.#told.get(name) ?? {};
    const isNews = latest !== undefined && latest.atMs > (before[latest.reason] ?? -1);
    const reason = isNews ? latest.reason : undefined;
    const { told, isDue } = tell(before, reason, clock.now());
    this.#told.set(name, told);
    const note = status.conditions?.find(({ type }) => type === 'MetersAgree')?.message;
    if (!isDue || reason === undefined || note === undefined) return;
    const subject = { resource: resources.origins, name: keyOf(origin), uid };
    events.record(subject, originEvent(reason, note));
  }
}
