/** Which turns of an Origin's story are told by events. */
import type { OriginReason } from '../api/v1alpha1/conditions.ts';
import type { OriginStatus } from '../api/v1alpha1/origin.ts';
import type { OriginCondition } from './originConditions.ts';
import type { EventRule, StoryEvent } from './story.ts';

const STALLED = 'It becomes the reason of Stalled.';
const LIMITING = 'It becomes the reason of Limiting; at most once in ten minutes.';
const METERS = 'A report has it that is newer than those told before; at most once in ten minutes.';

export const ORIGIN_EVENTS = {
  HostConflict: { type: 'Warning', action: 'Limit', when: STALLED },
  InvalidSchedule: { type: 'Warning', action: 'Limit', when: STALLED },
  JournalBroken: { type: 'Warning', action: 'Limit', when: STALLED },
  NewerSchema: { type: 'Warning', action: 'Limit', when: STALLED },
  ConnectionsInUse: { type: 'Normal', action: 'Limit', when: LIMITING },
  BandwidthInUse: { type: 'Normal', action: 'Limit', when: LIMITING },
  TrafficExhausted: { type: 'Warning', action: 'Limit', when: LIMITING },
  UseUnderstated: { type: 'Warning', action: 'Charge', when: METERS },
  MetersApart: { type: 'Warning', action: 'Charge', when: METERS },
  UseOverGrant: { type: 'Warning', action: 'Charge', when: METERS },
} as const satisfies Readonly<Partial<Record<OriginReason, EventRule>>>;

type ToldReason = keyof typeof ORIGIN_EVENTS;

export function originEvent(reason: ToldReason, note: string): StoryEvent {
  const { type, action } = ORIGIN_EVENTS[reason];
  return { type, reason, action, note };
}

/** That a person has to act, when that begins or has another reason. Undefined: it is no news. */
export function stalledEvent(
  before: OriginStatus | undefined,
  after: OriginStatus,
): StoryEvent | undefined {
  const [old, now] = [before, after].map((status) =>
    status?.conditions?.find(({ type }) => type === 'Stalled'),
  );
  if (now === undefined || now.reason === old?.reason) return undefined;
  return originEvent(now.reason as OriginCondition<'Stalled'>['reason'], now.message);
}
