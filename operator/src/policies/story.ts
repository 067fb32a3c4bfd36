/** Which events a change of status is worth: the story that `kubectl describe` tells. */
import type { DistributionConditionType } from '../api/v1alpha1/conditions.ts';
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import { isFailure } from './failures.ts';
import { listed } from './idleFailures.ts';
import { conditionFor } from './nodeFailures.ts';

/** What is told of some kind of turn; the specification page says the same. */
export interface EventRule {
  readonly type: 'Normal' | 'Warning';
  /** What the operator did or tried. */
  readonly action: string;
  /** For the specification page: exactly when it is told. */
  readonly when: string;
}

export interface StoryEvent extends Pick<EventRule, 'type' | 'action'> {
  readonly reason: string;
  readonly note: string;
}

/** By their reasons. Besides these each failure is told, and what nodes fail for. */
export const DISTRIBUTION_EVENTS = {
  EpochStarted: {
    type: 'Normal',
    action: 'Plan',
    when: 'A new epoch begins. The note says its size and for how many nodes it is.',
  },
  Delivered: { type: 'Normal', action: 'Deliver', when: 'Ready turns True.' },
  NoNodesMatch: {
    type: 'Warning',
    action: 'Deliver',
    when: 'Ready turns True because no node matches spec.target.',
  },
  Suspended: {
    type: 'Normal',
    action: 'Suspend',
    when: 'spec.suspend stops it while nodes lack the file.',
  },
  Resumed: {
    type: 'Normal',
    action: 'Deliver',
    when: 'spec.suspend is false again, and nodes receive.',
  },
  MirrorUnavailable: {
    type: 'Warning',
    action: 'Pull',
    when: 'It becomes the reason of MirrorsAvailable.',
  },
  MirrorDropped: {
    type: 'Warning',
    action: 'Pull',
    when: 'It becomes the reason of MirrorsAvailable.',
  },
  VolumeOutdated: {
    type: 'Warning',
    action: 'Mount',
    when: 'It becomes the reason of VolumeAvailable.',
  },
  ClaimConflict: {
    type: 'Warning',
    action: 'Mount',
    when: 'It becomes the reason of VolumeAvailable.',
  },
  ClaimRefused: {
    type: 'Warning',
    action: 'Mount',
    when: 'It becomes the reason of VolumeAvailable.',
  },
  VolumesDisabled: {
    type: 'Warning',
    action: 'Mount',
    when: 'It becomes the reason of VolumeAvailable.',
  },
  NodeLabelsDisabled: {
    type: 'Warning',
    action: 'Mount',
    when: 'It becomes the reason of NodesLabelled.',
  },
} as const satisfies Readonly<Record<string, EventRule>>;

type ToldReason = keyof typeof DISTRIBUTION_EVENTS;

function told(reason: ToldReason, note: string): StoryEvent {
  const { type, action } = DISTRIBUTION_EVENTS[reason];
  return { type, reason, action, note };
}

function warning(reason: string, action: string, note: string): StoryEvent {
  return { type: 'Warning', reason, action, note };
}

export function distributionEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  const turns = conditionEvents(before, after);
  return [
    ...epochEvents(before, after),
    ...turns,
    ...failedNodeEvents(before, after, new Set(turns.map(({ reason }) => reason))),
  ];
}

function epochEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  const epoch = after.epoch;
  if (epoch === undefined || before?.epoch?.number === epoch.number) return [];
  const note = `epoch ${epoch.number}: ${after.summary?.size ?? `${epoch.sizeBytes} bytes`} in ${epoch.pieces} pieces for ${after.nodes?.desired ?? 0} nodes`;
  return [told('EpochStarted', note)];
}

function conditionEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
): StoryEvent[] {
  const events: StoryEvent[] = [];
  for (const { type, status, reason, message } of after.conditions ?? []) {
    const old = before?.conditions?.find((condition) => condition.type === type);
    if (old?.status === status && old.reason === reason) continue;
    const has = (turn: string) => `${type}=${status}` === turn;
    if (has('Ready=False') && old?.reason === 'Suspended' && reason === 'Transferring') {
      events.push(told('Resumed', message));
    } else if (has('Stalled=True') || (has('Reconciling=True') && isFailure(reason))) {
      events.push(warning(reason, 'Deliver', message));
    } else if (has('RelaysAvailable=False') && isFailure(reason)) {
      events.push(warning(reason, 'Relay', message));
    } else if (TURNS.has(type) && isTold(reason)) {
      events.push(told(reason, message));
    }
  }
  return events;
}

/** The others repeat the reasons of these, or are told above. */
const TURNS: ReadonlySet<string> = new Set<DistributionConditionType>([
  'Ready',
  'MirrorsAvailable',
  'VolumeAvailable',
  'NodesLabelled',
]);

function isTold(reason: string): reason is ToldReason {
  return Object.hasOwn(DISTRIBUTION_EVENTS, reason);
}

/**
 * One event a new reason, however many nodes have it: a thousand full disks are one story. `told`: of
 * the conditions; what stalls all says the same of its nodes.
 */
function failedNodeEvents(
  before: DistributionStatus | undefined,
  after: DistributionStatus,
  told: ReadonlySet<string>,
): StoryEvent[] {
  const known = new Set(before?.failedNodes?.map(({ reason }) => reason));
  const news = Map.groupBy(
    (after.failedNodes ?? []).filter(({ reason }) => !known.has(reason)),
    ({ reason }) => reason,
  );
  // Several of which none is that of the condition: it names one of them.
  const isSaid = (reason: string) =>
    told.has(conditionFor(reason)) && (news.size === 1 || conditionFor(reason) !== 'NodesFailed');
  const unsaid = [...news].filter(([reason]) => !isSaid(reason));
  return unsaid.map(([reason, nodes]) => {
    const note = `${listed(nodes.map(({ name }) => name))}: ${nodes[0]!.message}`;
    return warning(reason, 'Place', note);
  });
}
