/** What of the Origins is in force, and what their status says. */
import type { OriginConditionType, OriginReason } from '../api/v1alpha1/conditions.ts';
import type { OriginSpec, OriginStatus } from '../api/v1alpha1/origin.ts';
import { formatBytes, parseBytes, parseDurationSeconds } from '../api/v1alpha1/quantity.ts';
import type { OriginPolicy, OriginUsage } from '../controllers/dataSide.ts';
import { type ConditionValue, stampConditions } from './conditions.ts';

export interface OriginFacts {
  readonly name: string;
  readonly uid: string;
  readonly createdAt: string;
  readonly spec: OriginSpec;
}

export interface OriginProblem {
  readonly reason: Exclude<OriginReason, 'Enforced'>;
  readonly message: string;
}

export interface OriginVerdict {
  /** Undefined when nothing of it can be enforced. */
  readonly policy: OriginPolicy | undefined;
  readonly problem: OriginProblem | undefined;
}

const DEFAULT_CLOSE_AFTER_SECONDS = 120;

/** By name. A host belongs to the oldest Origin that names it. */
export function decideOrigins(origins: readonly OriginFacts[]): Map<string, OriginVerdict> {
  const owners = new Map<string, string>();
  const verdicts = new Map<string, OriginVerdict>();
  for (const origin of [...origins].sort(byAge)) {
    const taken = origin.spec.hosts.filter((host) => owners.has(host));
    const free = origin.spec.hosts.filter((host) => !owners.has(host));
    for (const host of free) owners.set(host, origin.name);
    const policy = free.length === 0 ? undefined : policyOf(origin, free);
    verdicts.set(origin.name, { policy, problem: problemOf(origin, taken, owners) });
  }
  return verdicts;
}

function byAge(a: OriginFacts, b: OriginFacts): number {
  if (a.createdAt !== b.createdAt) return a.createdAt < b.createdAt ? -1 : 1;
  return a.uid < b.uid ? -1 : 1;
}

function policyOf({ name, spec }: OriginFacts, hosts: readonly string[]): OriginPolicy {
  const { maxConnections, maxBandwidth, maxTraffic } = spec.limits;
  const bandwidth = maxBandwidth === undefined ? undefined : parseBytes(maxBandwidth);
  const traffic = maxTraffic === undefined ? undefined : parseBytes(maxTraffic.bytes);
  const period = maxTraffic === undefined ? undefined : parseDurationSeconds(maxTraffic.period);
  return {
    name,
    hosts,
    limits: {
      ...(maxConnections !== undefined && { maxConnections }),
      ...(bandwidth !== undefined && { maxBandwidthBytesPerSecond: bandwidth }),
      ...(traffic !== undefined &&
        period !== undefined && { maxTraffic: { bytes: traffic, periodSeconds: period } }),
    },
    closeAfterSeconds: parseDurationSeconds(spec.closeAfter) ?? DEFAULT_CLOSE_AFTER_SECONDS,
    allowPrivateAddresses: spec.allowPrivateAddresses,
    allowAgentCredentials: spec.allowAgentCredentials,
  };
}

function problemOf(
  { spec }: OriginFacts,
  taken: readonly string[],
  owners: ReadonlyMap<string, string>,
): OriginProblem | undefined {
  const host = taken[0];
  if (host === undefined) return undefined;
  const rest = taken.length === spec.hosts.length ? 'nothing of this one holds' : 'the rest holds';
  const message = `spec.hosts: '${host}' belongs to the older Origin '${owners.get(host)}'; remove it from one of them (${rest})`;
  return { reason: 'HostConflict', message };
}

export interface OriginStatusInput {
  readonly generation: number;
  readonly previous: OriginStatus | undefined;
  readonly verdict: OriginVerdict;
  readonly usage: OriginUsage | undefined;
  readonly now: string;
}

export function originStatus(input: OriginStatusInput): OriginStatus {
  const { verdict, usage } = input;
  const limits = verdict.policy?.limits;
  return {
    observedGeneration: input.generation,
    conditions: stampConditions(
      conditionsOf(verdict),
      input.previous?.conditions,
      input.generation,
      input.now,
    ),
    ...(usage && {
      usage: {
        connections: usage.connections,
        rateBytesPerSecond: usage.rateBytesPerSecond,
        trafficBytes: usage.trafficBytes,
        ...(usage.periodStart !== undefined && { periodStart: usage.periodStart }),
      },
      summary: {
        connections: share(String(usage.connections), limits?.maxConnections?.toString()),
        bandwidth: share(
          `${formatBytes(usage.rateBytesPerSecond)}/s`,
          format(limits?.maxBandwidthBytesPerSecond, '/s'),
        ),
        traffic: share(formatBytes(usage.trafficBytes), format(limits?.maxTraffic?.bytes, '')),
      },
    }),
  };
}

function conditionsOf({
  problem,
}: OriginVerdict): ConditionValue<OriginConditionType, OriginReason>[] {
  if (problem === undefined) {
    const message = 'the limits hold for every process of the cluster';
    return [{ type: 'Ready', status: 'True', reason: 'Enforced', message }];
  }
  return [
    { type: 'Ready', status: 'False', ...problem },
    { type: 'Stalled', status: 'True', ...problem },
  ];
}

function format(bytes: number | undefined, unit: string): string | undefined {
  return bytes === undefined ? undefined : formatBytes(bytes) + unit;
}

function share(used: string, allowed: string | undefined): string {
  return allowed === undefined ? used : `${used} of ${allowed}`;
}
