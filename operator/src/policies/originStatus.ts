/** What the status of an Origin says: what is in force, what is used, and whom it holds back. */
import type { OriginStatus } from '../api/v1alpha1/origin.ts';
import { formatBytes } from '../api/v1alpha1/quantity.ts';
import type { HeldBack, LimitReason, OriginUsage } from '../controllers/dataSide.ts';
import type { OriginJournals } from '../quota/marks.ts';
import { stampConditions } from './conditions.ts';
import { metersAgree } from './metersAgree.ts';
import type { OriginVerdict } from './origin.ts';
import type { OriginCondition } from './originConditions.ts';
import { behindMessage, journalStatus, journalTrouble } from './originJournals.ts';

export interface OriginStatusInput {
  readonly generation: number;
  readonly previous: OriginStatus | undefined;
  readonly verdict: OriginVerdict;
  readonly usage: OriginUsage | undefined;
  readonly journals: OriginJournals | undefined;
  /** Those that were held back lately; of `usage`, those that are now. */
  readonly heldBack: readonly HeldBack[];
  /** Namespace and name. */
  readonly nameOf: (uid: string) => string | undefined;
  readonly now: string;
}

/** The worst first: who waits for traffic waits longest. */
const REASONS: readonly LimitReason[] = ['TrafficExhausted', 'ConnectionsInUse', 'BandwidthInUse'];
const MAX_NAMED = 5;

export function originStatus(input: OriginStatusInput): OriginStatus {
  const { usage } = input;
  return {
    observedGeneration: input.generation,
    conditions: stampConditions(
      conditionsOf(input),
      input.previous?.conditions,
      input.generation,
      input.now,
    ),
    ...journalStatus(input.journals, input.previous),
    ...(usage && { usage: usageOf(usage, input.previous), summary: summaryOf(usage) }),
  };
}

/** The limit that holds distributions back, as a condition says it; undefined: none does. */
export function limitingReason(heldBack: readonly HeldBack[]): LimitReason | undefined {
  return REASONS.find((reason) => heldBack.some((each) => each.reason === reason));
}

function conditionsOf(input: OriginStatusInput): OriginCondition[] {
  const { usage } = input;
  const problem = input.verdict.problem ?? journalTrouble(input.journals);
  const seen =
    usage === undefined ? [] : [limitingOf(usage, input), metersAgree(usage.disagreements)];
  const rest = [...seen, ...sharedOf(input.verdict)];
  if (problem !== undefined) {
    return [
      { type: 'Ready', status: 'False', ...problem },
      { type: 'Stalled', status: 'True', ...problem },
      ...rest,
    ];
  }
  const behind = behindMessage(input.journals);
  if (behind !== undefined) {
    const why = { reason: 'JournalBehind', message: behind } as const;
    return [
      { type: 'Ready', status: 'False', ...why },
      { type: 'Reconciling', status: 'True', ...why },
      ...rest,
    ];
  }
  if (usage?.withinLimitsBy !== undefined) {
    const lowered = { reason: 'LimitLowered', message: loweredMessage(usage) } as const;
    return [
      { type: 'Ready', status: 'False', ...lowered },
      { type: 'Reconciling', status: 'True', ...lowered },
      ...rest,
    ];
  }
  const message = 'the limits hold for every process of the cluster';
  return [{ type: 'Ready', status: 'True', reason: 'Enforced', message }, ...rest];
}

function sharedOf({ shared }: OriginVerdict): OriginCondition[] {
  return shared === undefined ? [] : [{ type: 'HostsShared', status: 'True', ...shared }];
}

function loweredMessage(usage: OriginUsage): string {
  const { connections, windowBytes, limits, withinLimitsBy } = usage;
  const used = [
    ...(connections > limits.connections
      ? [`${connections} connections of ${limits.connections}`]
      : []),
    ...(windowBytes > limits.bandwidthBytesPerSecond
      ? [`${rate(windowBytes)} of ${rate(limits.bandwidthBytesPerSecond)}`]
      : []),
  ];
  return `leases from before a limit was lowered still hold ${used.join(' and ')}; nothing is granted beside them, and they end or come down by ${withinLimitsBy}`;
}

function limitingOf(
  usage: OriginUsage,
  { heldBack, nameOf }: OriginStatusInput,
): OriginCondition<'Limiting'> {
  const reason = limitingReason(heldBack);
  if (reason === undefined) {
    const message = 'no limit holds a distribution back';
    return { type: 'Limiting', status: 'False', reason: 'WithinLimits', message };
  }
  const named = heldBack.slice(0, MAX_NAMED).map((each) => {
    const name = nameOf(each.uid) ?? `a distribution that is gone (${each.uid})`;
    return `${name} ${shortOf(each)}`;
  });
  const more = heldBack.length - named.length;
  const list = [...named, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
  const message = `${limitText(reason, usage)}: ${list}; ${untilText(reason, usage)}`;
  return { type: 'Limiting', status: 'True', reason, message };
}

function shortOf({
  waiting,
  rateBytesPerSecond,
  wantRateBytesPerSecond,
  reason,
}: HeldBack): string {
  const processes = `${waiting} ${waiting === 1 ? 'process waits' : 'processes wait'}`;
  if (reason === 'TrafficExhausted') return `(${processes})`;
  const gets = `gets ${rate(rateBytesPerSecond)}, wants up to ${rate(wantRateBytesPerSecond)}`;
  return waiting === 0 ? gets : `${gets} (${processes})`;
}

/** Which limit, and how much it is. */
export function limitText(reason: LimitReason, { limits }: OriginUsage): string {
  switch (reason) {
    case 'ConnectionsInUse':
      return `all connections of spec.limits.maxConnections (${limits.connections}) are in use`;
    case 'BandwidthInUse':
      return `all of spec.limits.maxBandwidth (${rate(limits.bandwidthBytesPerSecond)}) is in use`;
    case 'TrafficExhausted':
      return `spec.limits.maxTraffic (${formatBytes(limits.trafficBytes ?? 0)}) is used up`;
  }
}

function untilText(reason: LimitReason, { periodEnd, limitsChangeAt }: OriginUsage): string {
  if (reason !== 'TrafficExhausted') {
    const next =
      limitsChangeAt === undefined ? '' : ` (the schedule changes it at ${limitsChangeAt})`;
    return `until others are done, or the limit is raised${next}`;
  }
  return `until the next period begins${periodEnd === undefined ? '' : ` at ${periodEnd}`}, or the limit is raised`;
}

/** What is kept of the usage. A new leader does not know since when the traffic is used up. */
function usageOf(
  usage: OriginUsage,
  previous: OriginStatus | undefined,
): NonNullable<OriginStatus['usage']> {
  const { connections, rateBytesPerSecond, trafficBytes, chargedBytes } = usage;
  const { periodStart, periodEnd, exhaustedAt, limitsChangeAt } = usage;
  const before = previous?.usage;
  const since = before?.periodStart === periodStart ? before?.exhaustedAt : undefined;
  return {
    connections,
    rateBytesPerSecond,
    trafficBytes,
    chargedBytes,
    ...(periodStart !== undefined && { periodStart }),
    ...(periodEnd !== undefined && { periodEnd }),
    ...(limitsChangeAt !== undefined && { limitsChangeAt }),
    ...(exhaustedAt !== undefined && { exhaustedAt: since ?? exhaustedAt }),
  };
}

function summaryOf(usage: OriginUsage): NonNullable<OriginStatus['summary']> {
  const { connections, rateBytesPerSecond, windowBytes, trafficBytes, chargedBytes } = usage;
  const { limits } = usage;
  const allowed = limits.trafficBytes;
  const free = [
    Math.max(0, limits.connections - connections),
    rate(Math.max(0, limits.bandwidthBytesPerSecond - windowBytes)),
    ...(allowed === undefined ? [] : [formatBytes(Math.max(0, allowed - chargedBytes))]),
  ];
  return {
    connections: `${connections} of ${limits.connections}`,
    bandwidth: `${rate(rateBytesPerSecond)} of ${rate(limits.bandwidthBytesPerSecond)}`,
    traffic:
      allowed === undefined
        ? formatBytes(trafficBytes)
        : `${formatBytes(trafficBytes)} of ${formatBytes(allowed)}`,
    headroom: free.join(', '),
  };
}

function rate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}
