/** Every condition of an Origin: when it has which status, and with which reasons. */
import type { OriginConditionType, OriginReason } from '../api/v1alpha1/conditions.ts';
import type { ConditionOf, ConditionRules } from './conditions.ts';

export const ORIGIN_CONDITIONS = {
  Ready: {
    True: { when: 'the limits hold for every process of the cluster', reasons: ['Enforced'] },
    False: {
      when: 'for a moment after a limit was lowered, until what is leased has come down to it; while the database lacks leases that were granted, because it was restored, emptied or replaced ([why](adr/0019-a-journal-behind-its-mark.md)); or a person has to act',
      reasons: [
        'LimitLowered',
        'JournalBehind',
        'HostConflict',
        'InvalidSchedule',
        'JournalBroken',
        'NewerSchema',
      ],
    },
  },
  Reconciling: {
    True: {
      when: 'more is leased than a limit that was lowered; or lost leases may still be in use; the message says until when. Absent otherwise',
      reasons: ['LimitLowered', 'JournalBehind'],
    },
  },
  Stalled: {
    True: {
      when: 'a person has to change this Origin or another one, to restore the database, or to go back to the newer release. Absent otherwise',
      reasons: ['HostConflict', 'InvalidSchedule', 'JournalBroken', 'NewerSchema'],
    },
  },
  Limiting: {
    True: {
      when: 'a limit holds distributions back; the message says which limit, which distributions, what they get, and until when',
      reasons: ['TrafficExhausted', 'ConnectionsInUse', 'BandwidthInUse'],
    },
    False: {
      when: 'none does. Like MetersAgree it is absent until the leader has read the journals',
      reasons: ['WithinLimits'],
    },
  },
  MetersAgree: {
    True: {
      when: 'what relays and agents report of their leases agrees with what the origin has answered',
      reasons: ['MetersAgree'],
    },
    False: {
      when: 'one of them did not, within the last hour; the message names it, both figures, and what to do. [Above](#who-counts-wrong)',
      reasons: ['UseUnderstated', 'MetersApart', 'UseOverGrant'],
    },
  },
  HostsShared: {
    True: {
      when: 'another Origin names the same host, or the same prefix of it; the message says which, and who has it. Absent otherwise',
      reasons: ['HostConflict', 'HostNamedTwice'],
    },
  },
} as const satisfies ConditionRules<OriginConditionType, OriginReason>;

export type OriginCondition<Type extends OriginConditionType = OriginConditionType> = ConditionOf<
  typeof ORIGIN_CONDITIONS,
  Type
>;
