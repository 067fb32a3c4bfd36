/** Which events a change of status is worth: the story that `kubectl describe` tells. */
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import { isFailure } from './failures.ts';
import { listed } from './idleFailures.ts';

export interface StoryEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly action: string;
  readonly note: string;
}

export function distributionEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  return [
    ...epochEvents(before, after),
    ...conditionEvents(before, after),
    ...failedNodeEvents(before, after),
  ];
}

function epochEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  const epoch = after.epoch;
  if (epoch === undefined || before?.epoch?.number === epoch.number) return [];
  const note = `epoch ${epoch.number}: ${after.summary?.size ?? `${epoch.sizeBytes} bytes`} in ${epoch.pieces} pieces for ${after.nodes?.desired ?? 0} nodes`;
  return [{ type: 'Normal', reason: 'EpochStarted', action: 'Plan', note }];
}

function conditionEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  const events: StoryEvent[] = [];
  for (const { type, status, reason, message } of after.conditions ?? []) {
    const old = before?.conditions?.find((condition) => condition.type === type);
    if (old?.status === status && old.reason === reason) continue;
    if (type === 'Ready' && reason === 'Suspended') {
      events.push({ type: 'Normal', reason, action: 'Suspend', note: message });
    } else if (type === 'Ready' && old?.reason === 'Suspended' && reason === 'Transferring') {
      events.push({ type: 'Normal', reason: 'Resumed', action: 'Deliver', note: message });
    } else if (type === 'Ready' && status === 'True') {
      const isDelivered = reason === 'Delivered';
      const kind = isDelivered ? 'Normal' : 'Warning';
      events.push({ type: kind, reason, action: 'Deliver', note: message });
    } else if (type === 'Stalled' || (type === 'Reconciling' && isFailure(reason))) {
      events.push({ type: 'Warning', reason, action: 'Deliver', note: message });
    } else if (type === 'RelaysAvailable' && isFailure(reason)) {
      events.push({ type: 'Warning', reason, action: 'Relay', note: message });
    } else if (type === 'MirrorsAvailable' && status === 'False') {
      events.push({ type: 'Warning', reason, action: 'Pull', note: message });
    } else if (WORKLOAD_WARNINGS.has(reason)) {
      events.push({ type: 'Warning', reason, action: 'Mount', note: message });
    }
  }
  return events;
}

/** Pods cannot use the files until somebody acts. */
const WORKLOAD_WARNINGS: ReadonlySet<string> = new Set([
  'ClaimConflict',
  'ClaimRefused',
  'VolumeOutdated',
  'VolumesDisabled',
  'NodeLabelsDisabled',
]);

/** One event a new reason, however many nodes have it: a thousand full disks are one story. */
function failedNodeEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  const known = new Set(before?.failedNodes?.map(({ reason }) => reason));
  const news = Map.groupBy(
    (after.failedNodes ?? []).filter(({ reason }) => !known.has(reason)),
    ({ reason }) => reason,
  );
  return [...news].map(([reason, nodes]) => ({
    type: 'Warning',
    reason,
    action: 'Place',
    note: `${listed(nodes.map(({ name }) => name))}: ${nodes[0]!.message}`,
  }));
}
