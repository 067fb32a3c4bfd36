/** The only place that writes a Distribution's status and tells its events. */
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { isKubeError } from '../../kube/client.ts';
import { resources } from '../../kube/paths.ts';
import { type DistributionInput, decideDistribution } from '../../policies/distribution.ts';
import { distributionStatus, isSourceGone, sameStatus } from '../../policies/distributionStatus.ts';
import { isMadeFrom } from '../../policies/fileSet.ts';
import { isProven } from '../../policies/graves.ts';
import { mirrorsAvailable, standingsOf } from '../../policies/mirrors.ts';
import { isAwaited } from '../../policies/nodes.ts';
import { withRetries } from '../../policies/retries.ts';
import { distributionEvents } from '../../policies/story.ts';
import type { DistributionProgress } from '../dataSide.ts';
import type { DistributionControllerDependencies } from './controller.ts';
import type { Memory } from './memory.ts';
import { relaysOf } from './plan.ts';

export interface WriteResult {
  /** When it may be written, if it was not; 0: somebody else has changed it meanwhile. */
  readonly dueInMs?: number;
  /** Nothing is under way that the operator would have to watch. */
  readonly settled: boolean;
}

export class StatusWriter {
  readonly #deps: Pick<
    DistributionControllerDependencies,
    'api' | 'clock' | 'coordinator' | 'events' | 'fleet' | 'troubles' | 'wallTime' | 'workloads'
  >;

  constructor(dependencies: DistributionControllerDependencies) {
    this.#deps = dependencies;
  }

  async write(
    distribution: Distribution,
    memory: Memory,
    input: DistributionInput,
    signal: AbortSignal,
  ): Promise<WriteResult> {
    const { api, clock, coordinator } = this.#deps;
    const progress = coordinator.progress(memory.uid);
    // What an earlier leader has written is truer than what is known yet.
    if (progress?.isUnread === true) return { settled: false };
    const nowMs = clock.now();
    memory.looked(nowMs);
    const { status: previous, resourceVersion } = memory.newest(distribution);
    const { record } = memory;
    const { spec, metadata } = distribution;
    const verdict = decideDistribution(input);
    const ready = new Set(
      progress?.nodes.filter(({ state }) => state === 'ready').map(({ name }) => name),
    );
    const open = input.nodes.filter((node) => isAwaited(node) && !ready.has(node.name)).length;
    const idleForMs = memory.idleForMs(
      progress,
      { isServed: verdict.action === 'serve', open },
      nowMs,
    );
    memory.isSourceGone = isSourceGone({ verdict, record, progress, idleForMs });
    const status = distributionStatus({
      generation: metadata.generation ?? 0,
      previous,
      verdict,
      record,
      recordIsCurrent: record !== undefined && isMadeFrom(record, spec.source) && isProven(record),
      failure: input.failure,
      sourceChanged: input.sourceChanged,
      nodes: input.nodes,
      progress: progress && this.#withRetries(progress, memory, nowMs),
      relays: this.#deps.fleet.relayStates(
        relaysOf(spec.relays, memory.uid, metadata.namespace),
        new Set(input.nodes.map((node) => node.domain)),
      ),
      workloads: this.#deps.workloads.conditions(distribution),
      mirrors: mirrorsAvailable(
        standingsOf(
          spec.source.mirrors ?? [],
          record,
          memory.mirrors.problems(),
          progress?.mirrorFailures ?? new Map(),
        ),
        record,
      ),
      idleForMs,
      progressDeadlineSeconds: spec.progressDeadlineSeconds,
      troubles: this.#deps.troubles,
      maxUnready: spec.delivery.maxUnready,
      now: this.#deps.wallTime(),
    });
    // Also of what is over before it may be written: the story is not to have holes.
    const events = distributionEvents(memory.told ?? previous, status);
    memory.told = status;
    this.#tell(distribution, events);
    const settled = !status.conditions?.some((condition) => condition.type === 'Reconciling');
    if (sameStatus(previous, status)) return { settled };
    const dueInMs = memory.statusDueInMs(nowMs);
    if (dueInMs > 0) return { dueInMs, settled };
    memory.ownWrites.begin();
    try {
      const written = await api.writeStatus(distribution, { status, resourceVersion }, signal);
      const version = written.metadata.resourceVersion;
      memory.wrote({ resourceVersion: version, status }, nowMs);
      return { settled, ...(memory.ownWrites.end(version) && { dueInMs: 0 }) };
    } catch (error) {
      memory.ownWrites.end(undefined);
      if (!isKubeError(error, 'Conflict', 'NotFound')) throw error;
      memory.wroteInVain(nowMs);
      // Gone: the reflector will say so.
      if (isKubeError(error, 'NotFound')) return { settled };
      return this.#lookAgain(distribution, memory, signal);
    }
  }

  #withRetries(
    progress: DistributionProgress,
    memory: Memory,
    nowMs: number,
  ): DistributionProgress {
    if (progress.epoch !== memory.record?.epoch) return progress;
    const { nodes, failures } = withRetries(progress.nodes, memory.failures, nowMs);
    memory.failures = failures;
    return { ...progress, nodes };
  }

  async #lookAgain(
    distribution: Distribution,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<WriteResult> {
    const found = await this.#deps.api.readAnew(distribution, signal);
    // Gone, or made anew: the reflector will say so.
    if (found?.metadata.uid !== distribution.metadata.uid) return { settled: false };
    memory.saw(found);
    return { dueInMs: memory.statusDueInMs(this.#deps.clock.now()), settled: false };
  }

  #tell({ metadata }: Distribution, events: ReturnType<typeof distributionEvents>): void {
    const { namespace, name, uid } = metadata;
    const subject = { resource: resources.distributions, namespace, name, uid };
    for (const event of events) this.#deps.events.record(subject, event);
  }
}
