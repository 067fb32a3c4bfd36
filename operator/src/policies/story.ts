/** Which events a change of status is worth: the story that `kubectl describe` tells. */
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';

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
    if (type === 'Ready' && status === 'True') {
      events.push({ type: 'Normal', reason, action: 'Deliver', note: message });
    } else if (type === 'Stalled' || (type === 'Reconciling' && isWarning(reason))) {
      events.push({ type: 'Warning', reason, action: 'Deliver', note: message });
    } else if (type === 'RelaysAvailable' && reason === 'RelaysMissing') {
      events.push({ type: 'Warning', reason, action: 'Relay', note: message });
    }
  }
  return events;
}

function isWarning(reason: string): boolean {
  return reason.startsWith('Source') || reason.startsWith('Origin');
}

function failedNodeEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  const known = new Set(before?.failedNodes?.map((node) => `${node.name} ${node.reason}`));
  return (after.failedNodes ?? [])
    .filter((node) => !known.has(`${node.name} ${node.reason}`))
    .map(({ name, reason, message }) => ({
      type: 'Warning',
      reason,
      action: 'Place',
      note: `${name}: ${message}`,
    }));
}
