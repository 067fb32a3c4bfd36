/** Every condition of a Distribution: when it has which status, and with which reasons. */
import type { DistributionConditionType, DistributionReason } from '../api/v1alpha1/conditions.ts';
import type { ConditionOf, ConditionRules } from './conditions.ts';
import { readyFailuresOf, SOURCE_FAILURES } from './failures.ts';

export const DISTRIBUTION_CONDITIONS = {
  Ready: {
    True: {
      when: 'the matching nodes that are waited for show the file of this epoch, but for as many as `spec.delivery.maxUnready` lets go without, and one at least does; or no node matches. It stays True for this generation and epoch, whatever becomes of nodes that join later, while one has it or none is waited for',
      reasons: ['Delivered', 'NoNodesMatch'],
    },
    False: {
      when: 'otherwise; the reason says how far it is or what is wrong',
      reasons: [
        'Resolving',
        'Transferring',
        'Suspended',
        'Terminating',
        ...readyFailuresOf('stall'),
        ...readyFailuresOf('wait'),
        ...readyFailuresOf('retry'),
      ],
    },
  },
  Reconciling: {
    True: {
      when: 'Ready is False, and it goes on by itself: bytes move, the operator asks the origin, processes let go of what is deleted, or what failed is of the kind `wait` or `retry`. Absent otherwise',
      reasons: [
        'Resolving',
        'Transferring',
        'Terminating',
        ...readyFailuresOf('wait'),
        ...readyFailuresOf('retry'),
      ],
    },
  },
  Stalled: {
    True: {
      when: 'Ready is False, and it does not go on until a person acts: what failed is of the kind `stall`. Absent otherwise',
      reasons: readyFailuresOf('stall'),
    },
  },
  SourceResolved: {
    True: {
      when: 'length and validator of the file in the spec are known',
      reasons: ['Resolved'],
    },
    False: {
      when: 'the last try to learn them, or to read the credentials for them, failed; the reason says how',
      reasons: SOURCE_FAILURES,
    },
    Unknown: {
      when: 'the origin was not asked yet, or is being asked',
      reasons: ['Resolving', 'SourceChanged'],
    },
  },
  RelaysAvailable: {
    True: {
      when: 'each domain with nodes that wait has a relay that runs, or none with an agent waits',
      reasons: ['RelaysReady', 'RelaysNotNeeded'],
    },
    False: {
      when: 'a domain has none, or none that can work on it, though nodes wait there. It is absent while the Distribution is suspended, held or deleted',
      reasons: [
        'RelaysStarting',
        'RelaysMissing',
        'RelaysFailed',
        'RelaysLimited',
        'ImageNotPullable',
      ],
    },
  },
  MirrorsAvailable: {
    True: {
      when: 'each of `spec.source.mirrors` has files of the same lengths. It is absent without that field',
      reasons: ['MirrorsReady'],
    },
    False: {
      when: 'one does not answer, or not as it must, or was dropped, or the origin of `spec.source.url` honours no byte ranges; the reason and message say which',
      reasons: ['MirrorUnavailable', 'MirrorDropped'],
    },
    Unknown: { when: 'mirrors are being asked', reasons: ['Resolving'] },
  },
  VolumeAvailable: {
    True: {
      when: 'the claim of `spec.target.persistentVolumeClaim` is bound, so that pods can mount it. It is absent without that field',
      reasons: ['VolumeBound'],
    },
    False: {
      when: 'it is not; the reason says why',
      reasons: [
        'VolumePending',
        'VolumeOutdated',
        'ClaimTerminating',
        'ClaimConflict',
        'ClaimRefused',
        'VolumesDisabled',
      ],
    },
  },
  NodesLabelled: {
    True: {
      when: 'each node that shows the file bears the label of `spec.target.nodeLabel`, and no other node does. It is absent without that field',
      reasons: ['NodesLabelled'],
    },
    False: {
      when: 'labels are being written, or may not be',
      reasons: ['NodesBeingLabelled', 'NodeLabelsDisabled'],
    },
  },
} as const satisfies ConditionRules<DistributionConditionType, DistributionReason>;

export type DistributionCondition<
  Type extends DistributionConditionType = DistributionConditionType,
> = ConditionOf<typeof DISTRIBUTION_CONDITIONS, Type>;
