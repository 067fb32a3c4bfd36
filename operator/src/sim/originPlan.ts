/**
 * What people say of Origins, and how they change their minds: limits, schedules, and which Origin
 * has which part of which host. Where each place belongs is decided here by itself, for the oracle
 * that must not believe those who grant.
 */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import type { OracleLimits, OraclePart, OracleWindow } from './originOracle.ts';

export interface PlannedOrigin {
  readonly name: string;
  /** HOST, or HOST/PREFIX; nobody else has the same. */
  readonly entries: readonly string[];
  readonly limits: OracleLimits;
  readonly window?: OracleWindow;
}

export type OriginPlan = readonly PlannedOrigin[];

/** Gives no ranges. */
export const STREAM_HOST = 'c.example.com';
/** Each has a distribution. Two are on one host. */
export const PLACES: readonly string[] = ['a.example.com/x', 'a.example.com/y', 'b.example.com'];
const HOSTS = ['a.example.com', 'b.example.com', STREAM_HOST];
const ENTRIES = [...HOSTS, 'a.example.com/x', 'a.example.com/y'];
const EVERY_DAY = [0, 1, 2, 3, 4, 5, 6];
const DAY_MINUTES = 24 * 60;
const MINUTE_MS = 60_000;
/** With an offset that never changes. */
const ZONES = [
  { timeZone: 'UTC', offsetMinutes: 0 },
  { timeZone: 'Asia/Kolkata', offsetMinutes: 330 },
] as const;
const LEAST_BANDWIDTH = 2 ** 18;
const MAX_ORIGINS = 4;

export function everythingUnder(limits: OracleLimits): OriginPlan {
  return [{ name: 'cdn', entries: HOSTS, limits }];
}

export function policiesOf(
  plan: OriginPlan,
  closeAfterMs: number,
  periodSeconds: number,
): OriginPolicy[] {
  return plan.map(({ name, entries, limits, window }) => ({
    name,
    hosts: entries,
    limits: {
      maxConnections: limits.connections,
      maxBandwidthBytesPerSecond: limits.bandwidthBytesPerSecond,
      ...(limits.trafficBytes !== Number.POSITIVE_INFINITY && {
        maxTraffic: { bytes: limits.trafficBytes, periodSeconds },
      }),
    },
    schedule: window === undefined ? [] : [windowOf(window)],
    closeAfterSeconds: closeAfterMs / 1000,
    allowPrivateAddresses: false,
    allowAgentCredentials: false,
  }));
}

function windowOf({ fromMinute, toMinute, offsetMinutes, limits }: OracleWindow) {
  const { connections, bandwidthBytesPerSecond } = limits;
  return {
    days: EVERY_DAY,
    from: fromMinute,
    to: toMinute,
    timeZone: ZONES.find((zone) => zone.offsetMinutes === offsetMinutes)?.timeZone,
    limits: {
      ...(connections !== undefined && { maxConnections: connections }),
      ...(bandwidthBytesPerSecond !== undefined && {
        maxBandwidthBytesPerSecond: bandwidthBytesPerSecond,
      }),
    },
  };
}

/** `uncovered`: of each host what no Origin has; undefined: nothing may be taken there. */
export function partsOf(
  plan: OriginPlan,
  places: readonly string[],
  uncovered: OracleLimits | undefined,
): OraclePart[] {
  const nothing = { connections: 0, bandwidthBytesPerSecond: 0, trafficBytes: 0 };
  const parts = new Map<string, { places: string[] } & Omit<OraclePart, 'places'>>();
  for (const place of places) {
    const owner = ownerOf(plan, place);
    const key = owner?.name ?? `host ${place.split('/')[0]}`;
    const part = parts.get(key) ?? {
      places: [],
      limits: owner?.limits ?? uncovered ?? nothing,
      ...(owner?.window !== undefined && { window: owner.window }),
    };
    part.places.push(place);
    parts.set(key, part);
  }
  return [...parts.values()];
}

function ownerOf(plan: OriginPlan, place: string): PlannedOrigin | undefined {
  let longest = '';
  let owner: PlannedOrigin | undefined;
  for (const origin of plan) {
    for (const entry of origin.entries) {
      const isFitting = place === entry || place.startsWith(`${entry}/`);
      if (!isFitting || entry.length <= longest.length) continue;
      longest = entry;
      owner = origin;
    }
  }
  return owner;
}

/** Another plan; undefined: there is nothing to change in that way. */
export type Edit = (
  plan: OriginPlan,
  random: SeededRandom,
  wallMs: number,
) => OriginPlan | undefined;

export const EDITS: Readonly<Record<string, Edit>> = {
  limitsEdited: (plan, random) =>
    changed(plan, random, (origin) => ({ ...origin, limits: otherLimits(origin.limits, random) })),
  originDeleted: (plan, random) => {
    const at = random.below(plan.length);
    return plan.length === 0 ? undefined : plan.filter((_, other) => other !== at);
  },
  /** Anew, or for the first time, over what is nobody's. */
  originCreated: (plan, random) => {
    const free = ENTRIES.filter((entry) => !plan.some(({ entries }) => entries.includes(entry)));
    if (free.length === 0 || plan.length >= MAX_ORIGINS) return undefined;
    const entries = free.filter(() => random.next() < 0.6);
    if (entries.length === 0) return undefined;
    const limits = {
      connections: 1 + random.below(6),
      bandwidthBytesPerSecond: Math.round(2 ** 20 * (0.5 + random.next() * 4)),
      trafficBytes: plan[0]?.limits.trafficBytes ?? Number.POSITIVE_INFINITY,
    };
    return [...plan, { name: freeName(plan), entries, limits }];
  },
  /** A host, or a part of one, goes to another Origin: to one that there is, or to one of its own. */
  entryMoved: (plan, random) => {
    const from = plan[random.below(plan.length)];
    const entry = from?.entries[random.below(from.entries.length)];
    if (from === undefined || entry === undefined) return undefined;
    const to = plan[random.below(plan.length)];
    const rest = without(plan, from, entry);
    if (to === undefined || to === from) {
      if (from.entries.length === 1 || plan.length >= MAX_ORIGINS) return undefined;
      const limits = otherLimits(from.limits, random);
      return [...rest, { name: freeName(plan), entries: [entry], limits }];
    }
    return rest.map((each) =>
      each.name === to.name ? { ...each, entries: [...each.entries, entry] } : each,
    );
  },
  /** A part of the paths of a host gets an Origin of its own, which may have it already. */
  prefixSplitOff: (plan, random) => {
    const entry = ENTRIES.filter((each) => each.includes('/'))[random.below(2)] as string;
    const owner = plan.find(({ entries }) => entries.includes(entry.split('/')[0] as string));
    const isThere = plan.some(({ entries }) => entries.includes(entry));
    if (owner === undefined || isThere || plan.length >= MAX_ORIGINS) return undefined;
    const limits = otherLimits(owner.limits, random);
    return [...plan, { name: freeName(plan), entries: [entry], limits }];
  },
  prefixGivenBack: (plan) => {
    const owner = plan.find(({ entries }) => entries.some((entry) => entry.includes('/')));
    const entry = owner?.entries.find((each) => each.includes('/'));
    return owner && entry ? without(plan, owner, entry) : undefined;
  },
  scheduleEdited: (plan, random, wallMs) =>
    changed(plan, random, ({ window, ...origin }) => {
      if (window !== undefined && random.next() < 0.3) return origin;
      return { ...origin, window: someWindow(origin.limits, random, wallMs) };
    }),
};

function changed(
  plan: OriginPlan,
  random: SeededRandom,
  change: (origin: PlannedOrigin) => PlannedOrigin,
): OriginPlan | undefined {
  if (plan.length === 0) return undefined;
  const at = random.below(plan.length);
  return plan.map((origin, other) => (other === at ? change(origin) : origin));
}

function without(plan: OriginPlan, from: PlannedOrigin, entry: string): OriginPlan {
  return plan.flatMap((origin) => {
    if (origin !== from) return [origin];
    const entries = origin.entries.filter((each) => each !== entry);
    return entries.length === 0 ? [] : [{ ...origin, entries }];
  });
}

/** Names come again. */
function freeName(plan: OriginPlan): string {
  const names = ['cdn', 'second', 'third', 'fourth', 'fifth'];
  return names.find((name) => !plan.some((origin) => origin.name === name)) ?? 'last';
}

function otherLimits(
  { connections, bandwidthBytesPerSecond: rate, trafficBytes }: OracleLimits,
  random: SeededRandom,
): OracleLimits {
  return {
    connections: Math.max(1, Math.round(connections * (0.4 + random.next()))),
    bandwidthBytesPerSecond: Math.max(LEAST_BANDWIDTH, Math.round(rate * (0.5 + random.next()))),
    trafficBytes: Math.round(trafficBytes * (0.8 + random.next() * 0.4)),
  };
}

/** Of some minutes, that begins or ends about now. */
function someWindow(limits: OracleLimits, random: SeededRandom, wallMs: number): OracleWindow {
  const { offsetMinutes } = ZONES[random.below(ZONES.length)] as (typeof ZONES)[number];
  const nowMinute = Math.floor(wallMs / MINUTE_MS) + offsetMinutes;
  const fromMinute = nowMinute - 2 + random.below(6);
  const toMinute = fromMinute + 1 + random.below(4);
  const { connections, bandwidthBytesPerSecond } = otherLimits(limits, random);
  return {
    offsetMinutes,
    fromMinute: fromMinute % DAY_MINUTES,
    toMinute: toMinute % DAY_MINUTES,
    limits: {
      ...(random.next() < 0.7 && { connections }),
      ...(random.next() < 0.7 && { bandwidthBytesPerSecond }),
    },
  };
}
