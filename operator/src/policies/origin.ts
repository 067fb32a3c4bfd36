/** What of the Origins is in force. */
import type { OriginReason } from '../api/v1alpha1/conditions.ts';
import { DAY_NAMES } from '../api/v1alpha1/days.ts';
import type { OriginSpec } from '../api/v1alpha1/origin.ts';
import { parseBytes, parseDurationSeconds } from '../api/v1alpha1/quantity.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { normalEntry } from '../quota/coverage.ts';
import { isTimeZone, type LimitWindow } from './schedule.ts';

export interface OriginFacts {
  readonly name: string;
  readonly uid: string;
  readonly createdAt: string;
  readonly spec: OriginSpec;
}

export interface NamespaceFacts {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface OriginProblem {
  readonly reason: Extract<OriginReason, 'HostConflict' | 'InvalidSchedule'>;
  readonly message: string;
}

export interface OriginVerdict {
  /** Undefined when nothing of it can be enforced. */
  readonly policy: OriginPolicy | undefined;
  readonly problem: OriginProblem | undefined;
  /** Who else names a host of it, whichever of both has it; undefined: nobody does. */
  readonly shared: SharedHost | undefined;
}

export interface SharedHost {
  readonly reason: Extract<OriginReason, 'HostConflict' | 'HostNamedTwice'>;
  readonly message: string;
}

const DEFAULT_CLOSE_AFTER_SECONDS = 120;

/** By name. A host, or a prefix of its paths, belongs to the oldest Origin that names it. */
export function decideOrigins(
  origins: readonly OriginFacts[],
  namespaces: Iterable<NamespaceFacts>,
): Map<string, OriginVerdict> {
  const known = [...namespaces];
  const owners = new Map<string, string>();
  const verdicts = new Map<string, OriginVerdict>();
  for (const origin of [...origins].sort(byAge)) {
    const hosts = [...new Set(origin.spec.hosts.map(normalEntry))];
    const taken = hosts.filter((host) => owners.has(host));
    const free = hosts.filter((host) => !owners.has(host));
    for (const host of free) owners.set(host, origin.name);
    const policy = free.length === 0 ? undefined : policyOf(origin, free, known);
    const conflict = problemOf(origin, taken, owners);
    const problem = conflict ?? scheduleProblem(origin.spec);
    verdicts.set(origin.name, { policy, problem, shared: conflict });
    for (const host of taken) {
      const owner = owners.get(host) as string;
      const verdict = verdicts.get(owner) as OriginVerdict;
      const shared = verdict.shared ?? namedTwice(host, origin.name);
      verdicts.set(owner, { ...verdict, shared });
    }
  }
  return verdicts;
}

function namedTwice(host: string, younger: string): SharedHost {
  const message = `spec.hosts: '${host}' is named by the younger Origin '${younger}', too; remove it from one of them (this one's limits hold)`;
  return { reason: 'HostNamedTwice', message };
}

function byAge(a: OriginFacts, b: OriginFacts): number {
  if (a.createdAt !== b.createdAt) return a.createdAt < b.createdAt ? -1 : 1;
  return a.uid < b.uid ? -1 : 1;
}

function policyOf(
  { name, spec }: OriginFacts,
  hosts: readonly string[],
  namespaces: readonly NamespaceFacts[],
): OriginPolicy {
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
    schedule: spec.schedule.map(windowOf),
    closeAfterSeconds: parseDurationSeconds(spec.closeAfter) ?? DEFAULT_CLOSE_AFTER_SECONDS,
    ...allowedOf(spec.allowedNamespaces, namespaces),
    maxPriority: spec.maxPriority,
    allowPrivateAddresses: spec.allowPrivateAddresses,
    allowAgentCredentials: spec.allowAgentCredentials,
  };
}

function allowedOf(
  { from, matchLabels = {} }: OriginSpec['allowedNamespaces'],
  namespaces: readonly NamespaceFacts[],
): Pick<OriginPolicy, 'namespaces'> {
  if (from === 'All') return {};
  const wanted = Object.entries(matchLabels);
  const allowed = namespaces.filter(({ labels }) =>
    wanted.every(([key, value]) => labels[key] === value),
  );
  return { namespaces: allowed.map(({ name }) => name).sort() };
}

function windowOf({
  days,
  from,
  to,
  timeZone,
  limits,
}: OriginSpec['schedule'][number]): LimitWindow {
  const { maxConnections, maxBandwidth } = limits;
  const bandwidth = maxBandwidth === undefined ? undefined : parseBytes(maxBandwidth);
  return {
    days: days.map((day) => DAY_NAMES.indexOf(day)),
    from: minutesOf(from),
    to: minutesOf(to),
    timeZone: isTimeZone(timeZone) ? timeZone : undefined,
    limits: {
      ...(maxConnections !== undefined && { maxConnections }),
      ...(bandwidth !== undefined && { maxBandwidthBytesPerSecond: bandwidth }),
    },
  };
}

function minutesOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}

/** The API server does not know the names of time zones. */
function scheduleProblem({ schedule }: OriginSpec): OriginProblem | undefined {
  const at = schedule.findIndex(({ timeZone }) => !isTimeZone(timeZone));
  const window = schedule[at];
  if (window === undefined) return undefined;
  const message = `spec.schedule[${at}].timeZone: '${window.timeZone}' is not a time zone that is known here; write a name of the IANA database such as Europe/Berlin or UTC (until then the window may lower the limits, at any time)`;
  return { reason: 'InvalidSchedule', message };
}

function problemOf(
  { spec }: OriginFacts,
  taken: readonly string[],
  owners: ReadonlyMap<string, string>,
): (OriginProblem & { readonly reason: 'HostConflict' }) | undefined {
  const host = taken[0];
  if (host === undefined) return undefined;
  const rest = taken.length === spec.hosts.length ? 'nothing of this one holds' : 'the rest holds';
  const message = `spec.hosts: '${host}' belongs to the older Origin '${owners.get(host)}'; remove it from one of them (${rest})`;
  return { reason: 'HostConflict', message };
}
