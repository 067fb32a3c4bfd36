/**
 * The fold of one origin's journal. PURE: the same entries always give the same state, at every
 * leader. What counts against a limit is charged high: unknown means spent.
 */
import type { Extent } from '@sluice/protocol/leaseMessages.ts';
import { type Charge, type Charges, chargeTo, noCharges, withCharge } from './charges.ts';
import type { Entry, Terms, Unproven } from './entries.ts';
import { PersistentMap } from './persistentMap.ts';
import { noHistory, type TrafficHistory, takenSince, withTaken } from './trafficHistory.ts';

export interface LeaseVersion extends Terms {
  readonly version: number;
}

export interface LeaseRecord {
  readonly leaseId: string;
  readonly holder: string;
  readonly sequence?: number;
  readonly uid: string;
  readonly epoch: number;
  readonly pullerKey: string;
  readonly wantConnections: number;
  readonly purpose?: 'topUp';
  readonly mirror?: string;
  /** The newest last; every one of them may still be in force at the holder. */
  readonly versions: readonly LeaseVersion[];
  readonly extents: readonly Extent[];
  /** Expired, but its connections may be open. */
  readonly expired: boolean;
  /** What it used is charged, and nothing counts but what it left unproven. */
  readonly settled?: true;
}

export interface SettledSecond {
  /** Since the Unix epoch. */
  readonly second: number;
  readonly bytes: number;
}

/**
 * Clocks differ, ours and the origin's, by no more than this: what is taken so close to a period's
 * begin counts in both. The old period therefore ends so much late, and the new one begins with
 * what was settled from so long before it.
 */
export const BOUNDARY_MS = 60_000;

export interface Ledger {
  /** Of the journal; '' before its first document. */
  readonly identity: string;
  /** Not settled and not closed. */
  readonly leases: PersistentMap<LeaseRecord>;
  /** What these leases take together: kept, because it is asked at every grant. */
  readonly open: Usage;
  /** What those of them that top up may take, by distribution and epoch. */
  readonly openTopUps: PersistentMap<number>;
  /** Start of the traffic period, milliseconds since the Unix epoch; 0 before the first. */
  readonly periodStartMs: number;
  /** How long it is; 0 while that is not known. */
  readonly periodMs: number;
  /** Of settled and closed leases in the period. */
  readonly settledBytes: number;
  /** The same over all periods, coarsely: for a period that gets another length. */
  readonly history: TrafficHistory;
  /** The same by second of the wall clock, for the two minutes before the latest one. */
  readonly recent: readonly SettledSecond[];
  readonly latest: SettledSecond;
  /** Settled and closed leases, by distribution, over all periods; the latest ones. */
  readonly charges: Charges;
  readonly term: number;
}

export const NOTHING: Usage = {
  connections: 0,
  rateBytesPerSecond: 0,
  slackBytes: 0,
  windowBytes: 0,
  trafficBytes: 0,
};

export const emptyLedger: Ledger = {
  identity: '',
  leases: PersistentMap.empty(),
  open: NOTHING,
  openTopUps: PersistentMap.empty(),
  periodStartMs: 0,
  periodMs: 0,
  settledBytes: 0,
  history: noHistory,
  recent: [],
  latest: { second: 0, bytes: 0 },
  charges: noCharges,
  term: 0,
};

export function apply(ledger: Ledger, entry: Entry): Ledger {
  switch (entry.kind) {
    case 'grant': {
      const { kind: _, terms, ...record } = entry;
      const versions = [{ ...terms, version: 1 }];
      return withLease(ledger, { ...record, versions, expired: false });
    }
    case 'renew': {
      const lease = ledger.leases.get(entry.leaseId);
      if (lease === undefined) return ledger;
      const inForce = lease.versions.filter(
        ({ version }) => version >= entry.acknowledged && version !== entry.version,
      );
      const versions = [...inForce, { ...entry.terms, version: entry.version }];
      return withLease(ledger, { ...lease, versions, extents: entry.extents });
    }
    case 'expire': {
      const lease = ledger.leases.get(entry.leaseId);
      return lease === undefined ? ledger : withLease(ledger, { ...lease, expired: true });
    }
    case 'settle':
      return settled(ledger, entry);
    case 'close': {
      const { leaseId, atMs, usedBytes = 0 } = entry;
      return without(ledger, leaseId, (lease) => Math.max(maxBytesOf(lease), usedBytes), atMs);
    }
    case 'period': {
      const { startMs, fromMs, periodMs = ledger.periodMs } = entry;
      const goesOn = fromMs === undefined && startMs === ledger.periodStartMs;
      return { ...(goesOn ? ledger : inPeriod(ledger, startMs, fromMs)), periodMs };
    }
    case 'fence': {
      const identity = ledger.identity || (entry.identity ?? '');
      return { ...ledger, identity, term: Math.max(ledger.term, entry.term) };
    }
    case 'restart':
      return restarted(ledger, entry);
  }
}

/** Once: what is left of a lease is not charged again. */
function settled(ledger: Ledger, entry: Extract<Entry, { kind: 'settle' }>): Ledger {
  const { leaseId, usedBytes, atMs, unproven } = entry;
  const lease = ledger.leases.get(leaseId);
  if (lease === undefined || lease.settled) return ledger;
  const over = without(ledger, leaseId, () => usedBytes, atMs);
  if (unproven === undefined) return over;
  const version = lease.versions.at(-1)?.version ?? 0;
  const left = { ...unproven, rateBytesPerSecond: 0, maxBytes: 0, version };
  const rest = { versions: [left], extents: [], expired: true, settled: true } as const;
  return withLease(over, { ...lease, ...rest });
}

/** Of what a holder says, no more than its lease was for. */
export function unprovenOf({ versions }: LeaseRecord, said: Unproven): Unproven {
  const most = (of: (version: LeaseVersion) => number) => Math.max(...versions.map(of));
  return {
    connections: Math.min(
      said.connections,
      most(({ connections }) => connections),
    ),
    slackBytes: Math.min(
      said.slackBytes,
      most(({ slackBytes }) => slackBytes),
    ),
  };
}

/** Leases that live across the boundary count whole in the new period, too. */
function inPeriod(ledger: Ledger, startMs: number, fromMs = startMs): Ledger {
  return { ...ledger, periodStartMs: startMs, settledBytes: carriedInto(ledger, fromMs) };
}

/**
 * What nobody knows of was taken, and just now: it may be of this period or of the next. What a lease
 * that is open here leaves unused may have gone to others since: it is not taken off.
 */
function restarted(ledger: Ledger, entry: Extract<Entry, { kind: 'restart' }>): Ledger {
  const { identity, periodStartMs, trafficBytes, atMs } = entry;
  const begun = periodStartMs > ledger.periodStartMs ? inPeriod(ledger, periodStartMs) : ledger;
  const lost = Math.max(0, trafficBytes - begun.settledBytes);
  const settledBytes = begun.settledBytes + lost;
  return { ...begun, identity, settledBytes, ...withSettled(begun, lost, atMs) };
}

/** Start of the period that counts at this time of the wall clock. */
export function periodStartAt(nowMs: number, periodMs: number): number {
  return Math.floor((nowMs - BOUNDARY_MS) / periodMs) * periodMs;
}

/** When a period of that length ends that counts since then, or since a time before it. */
export function periodEndAfter(startMs: number, periodMs: number): number {
  return (Math.floor(startMs / periodMs) + 1) * periodMs;
}

/** What was settled in a period that began then. */
function carriedInto(
  { periodStartMs, settledBytes, recent, latest, history }: Ledger,
  startMs: number,
): number {
  // Without a period before it, the journal may have begun within this one.
  if (periodStartMs === 0) return settledBytes;
  const from = startMs - BOUNDARY_MS;
  if (from >= latest.second * 1000 - 2 * BOUNDARY_MS) {
    return [...recent, latest]
      .filter(({ second }) => (second + 1) * 1000 > from)
      .reduce((sum, { bytes }) => sum + bytes, 0);
  }
  const taken = takenSince(history, from);
  return from < history.sinceMs ? Math.max(settledBytes, taken) : taken;
}

/** What counts against the limits now. */
export interface Usage {
  readonly connections: number;
  readonly rateBytesPerSecond: number;
  readonly slackBytes: number;
  /** Sum of rate x 1 s + slack: the most that the origin emits in any second. */
  readonly windowBytes: number;
  readonly trafficBytes: number;
}

/** `except` leaves one lease out: what all the others take. */
export function usageOf({ leases, open, settledBytes }: Ledger, except?: string): Usage {
  const left = except === undefined ? undefined : leases.get(except);
  const usage = left === undefined ? open : minus(open, usageOfLease(left));
  return { ...usage, trafficBytes: settledBytes + usage.trafficBytes };
}

/**
 * Of versions that may all be in force, the most counts of everything. From one on to a later one the
 * origin may emit what the earlier one let be outstanding, and then the later one's rate.
 */
function usageOfLease({ versions, expired }: LeaseRecord): Usage {
  const most: { -readonly [Part in keyof Usage]: number } = { ...NOTHING };
  for (const { connections, rateBytesPerSecond, slackBytes, maxBytes } of versions.toReversed()) {
    const rate = expired ? 0 : rateBytesPerSecond;
    most.connections = Math.max(most.connections, connections);
    most.rateBytesPerSecond = Math.max(most.rateBytesPerSecond, rate);
    most.slackBytes = Math.max(most.slackBytes, slackBytes);
    most.windowBytes = Math.max(most.windowBytes, most.rateBytesPerSecond + slackBytes);
    most.trafficBytes = Math.max(most.trafficBytes, maxBytes);
  }
  return most;
}

function plus(one: Usage, other: Usage): Usage {
  return {
    connections: one.connections + other.connections,
    rateBytesPerSecond: one.rateBytesPerSecond + other.rateBytesPerSecond,
    slackBytes: one.slackBytes + other.slackBytes,
    windowBytes: one.windowBytes + other.windowBytes,
    trafficBytes: one.trafficBytes + other.trafficBytes,
  };
}

function minus(one: Usage, other: Usage): Usage {
  return {
    connections: one.connections - other.connections,
    rateBytesPerSecond: one.rateBytesPerSecond - other.rateBytesPerSecond,
    slackBytes: one.slackBytes - other.slackBytes,
    windowBytes: one.windowBytes - other.windowBytes,
    trafficBytes: one.trafficBytes - other.trafficBytes,
  };
}

/** Of settled and closed leases, for one distribution, over all periods. */
export function chargeOf(ledger: Ledger, uid: string): Charge {
  return chargeTo(ledger.charges, uid);
}

/**
 * What top-up of this epoch may have taken: charged whole while a lease is open, settled down to
 * what was used. `except` leaves one lease out.
 */
export function topUpBytesOf(ledger: Ledger, uid: string, epoch: number, except?: string): number {
  const { topUp } = chargeOf(ledger, uid);
  const settled = topUp?.epoch === epoch ? topUp.bytes : 0;
  const key = topUpKey({ uid, epoch });
  const left = except === undefined ? undefined : ledger.leases.get(except);
  const isOfThese = left?.purpose === 'topUp' && topUpKey(left) === key;
  const others = (ledger.openTopUps.get(key) ?? 0) - (isOfThese ? maxBytesOf(left) : 0);
  return settled + others;
}

function topUpKey({ uid, epoch }: { readonly uid: string; readonly epoch: number }): string {
  return `${uid}/${epoch}`;
}

export function maxBytesOf(lease: LeaseRecord): number {
  return usageOfLease(lease).trafficBytes;
}

/** As JSON can hold it, for snapshots: what follows from the rest is left out. */
export interface LedgerSnapshot {
  readonly leases: readonly LeaseRecord[];
  readonly periodStartMs: number;
  /** Absent, as the history: of an earlier version. */
  readonly periodMs?: number;
  readonly settledBytes: number;
  readonly history?: TrafficHistory;
  readonly recent: readonly SettledSecond[];
  readonly latest: SettledSecond;
  readonly charges: Readonly<Record<keyof Charges, readonly (readonly [string, Charge])[]>>;
  readonly term: number;
}

export function toSnapshot(ledger: Ledger): LedgerSnapshot {
  const { open: _, openTopUps: __, leases, charges, ...rest } = ledger;
  return {
    ...rest,
    leases: [...leases.values()],
    charges: { newer: [...charges.newer], older: [...charges.older] },
  };
}

export function fromSnapshot({ leases, charges, ...rest }: LedgerSnapshot): Ledger {
  const { newer, older } = charges;
  const settled: Ledger = {
    ...emptyLedger,
    history: { ...noHistory, sinceMs: (rest.latest.second + 1) * 1000 },
    ...rest,
    charges: { newer: PersistentMap.of(newer), older: PersistentMap.of(older) },
  };
  return leases.reduce(withLease, settled);
}

function withLease(ledger: Ledger, lease: LeaseRecord): Ledger {
  const before = ledger.leases.get(lease.leaseId);
  const leases = ledger.leases.with(lease.leaseId, lease);
  return { ...counted(ledger, before, lease), leases };
}

function without(
  ledger: Ledger,
  leaseId: string,
  charge: (lease: LeaseRecord) => number,
  atMs: number,
): Ledger {
  const lease = ledger.leases.get(leaseId);
  if (lease === undefined) return ledger;
  const gone = { ...counted(ledger, lease, undefined), leases: ledger.leases.without(leaseId) };
  if (lease.settled) return gone;
  const bytes = charge(lease);
  return {
    ...gone,
    charges: withCharge(ledger.charges, lease, bytes),
    settledBytes: ledger.settledBytes + bytes,
    ...withSettled(ledger, bytes, atMs),
  };
}

/** The sums over open leases, when one of them changes, comes or goes. */
function counted(
  ledger: Ledger,
  before: LeaseRecord | undefined,
  after: LeaseRecord | undefined,
): Ledger {
  const took = before === undefined ? NOTHING : usageOfLease(before);
  const takes = after === undefined ? NOTHING : usageOfLease(after);
  let { openTopUps } = ledger;
  if (before?.purpose === 'topUp') openTopUps = added(openTopUps, before, -took.trafficBytes);
  if (after?.purpose === 'topUp') openTopUps = added(openTopUps, after, takes.trafficBytes);
  return { ...ledger, open: plus(minus(ledger.open, took), takes), openTopUps };
}

function added(
  sums: PersistentMap<number>,
  lease: LeaseRecord,
  bytes: number,
): PersistentMap<number> {
  const key = topUpKey(lease);
  const sum = (sums.get(key) ?? 0) + bytes;
  return sum === 0 ? sums.without(key) : sums.with(key, sum);
}

function withSettled(
  { recent, latest, history: before }: Ledger,
  bytes: number,
  atMs: number,
): Pick<Ledger, 'recent' | 'latest' | 'history'> {
  // A clock that is set back moves nothing into an earlier period.
  const second = Math.max(Math.floor(atMs / 1000), latest.second);
  const history = withTaken(before, bytes, second * 1000);
  if (second === latest.second) {
    return { recent, latest: { second, bytes: latest.bytes + bytes }, history };
  }
  const oldest = second - (2 * BOUNDARY_MS) / 1000;
  const kept = [...recent, latest].filter((each) => each.second >= oldest);
  return { recent: kept, latest: { second, bytes }, history };
}
