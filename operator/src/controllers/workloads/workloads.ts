/**
 * What Sluice does for the pods that use the files: volumes that they mount and labels that their
 * affinity can name. Each needs rights of its own, so the chart can leave it out.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import type { ClaimObject, NodeObject, VolumeObject } from '../../kube/objects.ts';
import type { Reflector } from '../../kube/reflector.ts';
import type { DistributionCondition } from '../../policies/distributionConditions.ts';
import { labelCondition } from '../../policies/nodeLabels.ts';
import { volumeCondition } from '../../policies/volume.ts';
import type { DistributionProgress } from '../dataSide.ts';
import { NodeLabelController } from './nodeLabels.ts';
import { VolumeController } from './volumes.ts';

type Value = DistributionCondition;
/** The Distribution's own uid, whatever it has adopted. */
type Going = Pick<Distribution['metadata'], 'uid' | 'namespace'>;

/** What the distributions' controller says to this one, and asks of it. */
export interface WorkloadsView {
  /** As the Distribution and its nodes are now. */
  want(distribution: Distribution, progress: DistributionProgress | undefined): void;
  /** It is going: nothing for its pods is kept. Waits for nobody who uses it. */
  release(of: Going, signal: AbortSignal): Promise<void>;
  /** It is gone already. */
  forget(uid: string): void;
  /** Said once, by a new leader: every Distribution that there is has been spoken of. */
  primed(): void;
  conditions(distribution: Distribution): Value[];
  /** Told the uid of the Distribution itself. */
  onChange(listener: (uid: string) => void): void;
}

export interface WorkloadsOptions {
  readonly agentRoot: string;
}

export interface WorkloadsDependencies {
  readonly client: KubeClient;
  readonly distributions: Reflector<Distribution>;
  readonly nodes: Reflector<NodeObject>;
  /** Undefined where the operator has no right to them. */
  readonly volumes: Reflector<VolumeObject> | undefined;
  readonly claims: Reflector<ClaimObject> | undefined;
  readonly labelsNodes: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export class Workloads implements WorkloadsView {
  readonly volumes: VolumeController | undefined;
  readonly labels: NodeLabelController | undefined;
  readonly #logger: Logger;

  constructor(options: WorkloadsOptions, dependencies: WorkloadsDependencies) {
    const { distributions, volumes, claims, labelsNodes, logger } = dependencies;
    this.#logger = logger;
    if (volumes !== undefined && claims !== undefined) {
      const exists = (uid: string) =>
        [...distributions.list()].some(({ metadata }) => metadata.uid === uid);
      this.volumes = new VolumeController(options, { ...dependencies, volumes, claims, exists });
    }
    if (labelsNodes) this.labels = new NodeLabelController(dependencies);
  }

  start(): void {
    this.volumes?.start();
    this.labels?.start();
  }

  async stop(): Promise<void> {
    await Promise.all([this.volumes?.stop(), this.labels?.stop()]);
  }

  onChange(listener: (uid: string) => void): void {
    this.volumes?.onChange(listener);
    this.labels?.onChange(listener);
  }

  primed(): void {
    this.labels?.primed();
  }

  want(distribution: Distribution, progress: DistributionProgress | undefined): void {
    this.volumes?.want(distribution);
    this.labels?.want(distribution, progress);
  }

  async release(of: Going, signal: AbortSignal): Promise<void> {
    const { uid } = of;
    this.labels?.release(uid);
    try {
      await this.volumes?.release(of, signal);
    } catch (error) {
      // A right that was taken away must not keep a Distribution alive.
      if (!isKubeError(error, 'Forbidden')) throw error;
      this.#logger.warn('volume and claim stay: deleting them is forbidden', { uid, error });
    }
  }

  forget(uid: string): void {
    this.labels?.release(uid);
    this.volumes?.forget(uid);
  }

  conditions(distribution: Distribution): Value[] {
    const { persistentVolumeClaim, nodeLabel } = distribution.spec.target;
    const volume =
      this.volumes === undefined && persistentVolumeClaim !== undefined
        ? volumeCondition(persistentVolumeClaim, 'none', { kind: 'disabled' })
        : this.volumes?.condition(distribution.metadata.uid);
    const labels =
      this.labels === undefined && nodeLabel
        ? labelCondition('', undefined)
        : this.labels?.condition(distribution);
    return [volume, labels].filter((value) => value !== undefined);
  }
}
