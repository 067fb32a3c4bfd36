/** The tables of conditions and events that the specification pages show are what the policies do, and all of it. */
import { describe, expect, it } from 'vitest';
import type { Condition, DistributionConditionType } from '../api/v1alpha1/conditions.ts';
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import type { LimitReason, MeterReason, OriginUsage } from '../controllers/dataSide.ts';
import { aProgress, aRecord, aReport, aUsage, troubles } from '../testing/objects.ts';
import { aStatusInput, aTarget } from '../testing/statusInput.ts';
import type { ConditionRules } from './conditions.ts';
import { DISTRIBUTION_CONDITIONS, type DistributionCondition } from './distributionConditions.ts';
import { distributionStatus, type StatusInput } from './distributionStatus.ts';
import { FAILURES, type FailureReason, failure, SOURCE_FAILURES } from './failures.ts';
import { AGENTS_MISSING_MS, IDLE_MS } from './idleFailures.ts';
import { type MirrorStanding, mirrorsAvailable } from './mirrors.ts';
import { labelCondition } from './nodeLabels.ts';
import type { OriginVerdict } from './origin.ts';
import { ORIGIN_CONDITIONS } from './originConditions.ts';
import { ORIGIN_EVENTS, stalledEvent } from './originEvents.ts';
import { originStatus } from './originStatus.ts';
import { RELAYS_MISSING_MS } from './relaysAvailable.ts';
import { DISTRIBUTION_EVENTS, distributionEvents } from './story.ts';
import { volumeCondition } from './volume.ts';

type Said = Pick<Condition, 'type' | 'status' | 'reason'>;

function sorted(all: Iterable<string>): string[] {
  return [...new Set(all)].toSorted();
}

function documented(rules: ConditionRules): string[] {
  const all = Object.entries(rules).flatMap(([type, statuses]) =>
    Object.entries(statuses).flatMap(([status, rule]) =>
      (rule?.reasons ?? []).map((reason) => `${type}=${status}/${reason}`),
    ),
  );
  return sorted(all);
}

function said(conditions: readonly Said[]): string[] {
  return sorted(conditions.map(({ type, status, reason }) => `${type}=${status}/${reason}`));
}

const FAILURE_REASONS = Object.keys(FAILURES) as FailureReason[];
const record = aRecord();
const ready = aReport('n1', { state: 'ready' });
const withoutRelay = { domain: 'a', desired: 1, available: 0 };
const withoutImage = troubles({ relayImage: () => 'no such image' });
const message = 'm';
const HOLDING = [
  'PathConflict',
  'InvalidSource',
  'NamespaceNotAllowed',
  'SourceSpansOrigins',
] as const;
const standing: MirrorStanding = { url: 'http://m/f', isDropped: false, isKnown: true };

/** Of everything that a Distribution can come to, one each. */
const DISTRIBUTIONS: readonly Partial<StatusInput>[] = [
  {},
  { nodes: [], relays: [] },
  { nodes: [aTarget('n1')], progress: aProgress([ready]) },
  { verdict: { action: 'remove' } },
  { verdict: { action: 'suspend', record } },
  { verdict: { action: 'resolve', serve: undefined }, record: undefined },
  { verdict: { action: 'resolve', serve: record }, sourceChanged: true },
  ...HOLDING.map((reason): Partial<StatusInput> => {
    return { verdict: { action: 'hold', problem: failure(reason, message), serve: undefined } };
  }),
  ...SOURCE_FAILURES.map((reason): Partial<StatusInput> => {
    const verdict = { action: 'resolve', serve: undefined } as const;
    return { verdict, record: undefined, failure: failure(reason, message) };
  }),
  ...['DiskFull', 'NamespaceShareExceeded', 'DigestMismatch', 'DiskFailed'].map((reason) => {
    const node = aReport('n1', { state: 'failed', error: { reason, message } });
    return { nodes: [aTarget('n1')], progress: aProgress([node]) };
  }),
  { nodes: [aTarget('n1', { unschedulable: true })], progress: aProgress([]) },
  { idleForMs: 601_000 },
  { idleForMs: AGENTS_MISSING_MS, progress: aProgress([aReport('n1', { connected: false })]) },
  { idleForMs: IDLE_MS, relays: [withoutRelay], troubles: withoutImage },
  { relays: [withoutRelay] },
  { relays: [{ ...withoutRelay, missingForMs: RELAYS_MISSING_MS + 1 }] },
  {
    progress: aProgress([], {
      failedRelays: [{ domain: withoutRelay.domain, reason: 'DiskPressure', message: 'because' }],
    }),
    relays: [{ ...withoutRelay, available: 1 }],
  },
  { relays: [{ ...withoutRelay, desired: 0, bound: { asked: 1, granted: 0 } }] },
  { relays: [withoutRelay], troubles: withoutImage },
];

const MIRRORS: readonly [MirrorStanding, ranges?: boolean][] = [
  [standing],
  [{ ...standing, isDropped: true }],
  [{ ...standing, problem: 'm' }],
  [{ ...standing, isKnown: false }],
  [standing, false],
];

function distributionConditions(): DistributionCondition[] {
  const mirrors = MIRRORS.flatMap(([each, ranges = true]) => {
    const source = { ...record.source, ranges };
    return mirrorsAvailable([each], aRecord({ source })) ?? [];
  });
  const volumes = [
    ...(['pending', 'bound', 'terminating', 'outdated'] as const).map((outlook) =>
      volumeCondition('c', outlook, undefined),
    ),
    volumeCondition('c', 'pending', { kind: 'disabled' }),
    volumeCondition('c', 'pending', { kind: 'conflict' }),
    volumeCondition('c', 'pending', { kind: 'refused', message: 'm' }),
  ];
  const labels = [0, 1, undefined].map((open) => labelCondition('l', open));
  return [...mirrors, ...volumes, ...labels];
}

describe('the conditions of a Distribution', () => {
  it('are those of the table, each with its statuses and reasons', () => {
    const statuses = DISTRIBUTIONS.map((each) => distributionStatus(aStatusInput(each)));
    const all = statuses.flatMap(({ conditions = [] }) => conditions);
    expect(said([...all, ...distributionConditions()])).toEqual(
      documented(DISTRIBUTION_CONDITIONS),
    );
  });
});

const NO_TROUBLE: OriginVerdict = { policy: undefined, problem: undefined, shared: undefined };
const LIMITS: readonly LimitReason[] = ['TrafficExhausted', 'ConnectionsInUse', 'BandwidthInUse'];
const METERS: readonly MeterReason[] = ['UseUnderstated', 'MetersApart', 'UseOverGrant'];

function originWith(
  usage: Partial<OriginUsage>,
  verdict: Partial<OriginVerdict> = {},
  journals: Parameters<typeof originStatus>[0]['journals'] = undefined,
) {
  return originStatus({
    generation: 1,
    previous: undefined,
    verdict: { ...NO_TROUBLE, ...verdict },
    usage: aUsage(usage),
    journals,
    heldBack: usage.heldBack ?? [],
    nameOf: (uid) => uid,
    now: '2026-01-01T00:00:00Z',
  });
}

const known = { marks: undefined, behind: [], trouble: undefined };
const STALLED = [
  ...(['HostConflict', 'InvalidSchedule'] as const).map((reason) =>
    originWith({}, { problem: { reason, message } }),
  ),
  ...(['JournalBroken', 'NewerSchema'] as const).map((reason) =>
    originWith({}, {}, { ...known, trouble: { reason, message } }),
  ),
];
const ORIGINS = [
  originWith({}),
  originWith({ withinLimitsBy: '2026-01-01T00:00:10Z' }),
  originWith({}, {}, { ...known, behind: [{ host: 'h', untilMs: 0 }] }),
  ...STALLED,
  ...(['HostConflict', 'HostNamedTwice'] as const).map((reason) =>
    originWith({}, { shared: { reason, message } }),
  ),
  ...LIMITS.map((reason) => {
    const held = { uid: 'u', reason, waiting: 1, rateBytesPerSecond: 0, wantRateBytesPerSecond: 1 };
    return originWith({ heldBack: [held] });
  }),
  ...METERS.map((reason) => {
    const holder = { holder: 'r', atMs: 0, reportedBytes: 0, otherBytes: 1 };
    return originWith({ disagreements: [{ ...holder, reason }] });
  }),
];

describe('the conditions of an Origin', () => {
  it('are those of the table, each with its statuses and reasons', () => {
    expect(said(ORIGINS.flatMap(({ conditions = [] }) => conditions))).toEqual(
      documented(ORIGIN_CONDITIONS),
    );
  });
});

function told(conditions: readonly Said[], before?: readonly Said[]): string[] {
  const statusWith = (all: readonly Said[]) => ({ conditions: all }) as DistributionStatus;
  return distributionEvents(before && statusWith(before), statusWith(conditions)).map(
    ({ type, reason }) => `${type} ${reason}`,
  );
}

describe('the events of a Distribution', () => {
  it('are those of the table, and each failure that is told by a condition', () => {
    const each = Object.entries<ConditionRules[string]>(DISTRIBUTION_CONDITIONS).flatMap(
      ([type, statuses]) =>
        Object.entries(statuses).flatMap(([status, rule]) =>
          (rule?.reasons ?? []).map((reason) => ({ type, status, reason }) as Said),
        ),
    );
    const type: DistributionConditionType = 'Ready';
    const status = 'False';
    const events = [
      ...each.flatMap((condition) => told([condition])),
      ...told([{ type, status, reason: 'Transferring' }], [{ type, status, reason: 'Suspended' }]),
      ...distributionEvents(undefined, distributionStatus(aStatusInput())).map(
        (event) => `${event.type} ${event.reason}`,
      ),
    ];
    const rows = Object.entries(DISTRIBUTION_EVENTS).map(([reason, rule]) => {
      return `${rule.type} ${reason}`;
    });
    const failures = FAILURE_REASONS.map((reason) => `Warning ${reason}`);
    expect(sorted(events)).toEqual(sorted([...rows, ...failures]));
  });
});

describe('the events of an Origin', () => {
  it('tell that a person has to act, once for each reason', () => {
    const events = STALLED.map((status) => stalledEvent(undefined, status));
    for (const event of events) {
      expect(event).toMatchObject({ type: 'Warning', note: expect.stringContaining(message) });
    }
    const reasons = events.map((event) => event?.reason ?? '');
    expect(sorted(reasons)).toEqual(sorted(ORIGIN_CONDITIONS.Stalled.True.reasons));
    for (const status of STALLED) expect(stalledEvent(status, status)).toBeUndefined();
    expect(stalledEvent(STALLED[0], STALLED[3]!)).toMatchObject({ reason: 'NewerSchema' });
    expect(stalledEvent(STALLED[0], ORIGINS[0]!)).toBeUndefined();
  });

  it('are those of the table: of limits and of meters, besides', () => {
    const { Limiting, MetersAgree, Stalled } = ORIGIN_CONDITIONS;
    const of = [Stalled.True, Limiting.True, MetersAgree.False];
    const reasons = of.flatMap((rule): readonly string[] => rule.reasons);
    expect(sorted(Object.keys(ORIGIN_EVENTS))).toEqual(sorted(reasons));
  });
});
