/**
 * The fold of one origin's journal. PURE: the same entries always give the same state, at every
 * leader. What counts against a limit is charged high: unknown means spent.
 */
import type { Extent } from '@sluice/protocol/messages.ts';
import type { Entry, Terms } from './entries.ts';

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
  /** The newest last; every one of them may still be in force at the holder. */
  readonly versions: readonly LeaseVersion[];
  readonly extents: readonly Extent[];
  /** Expired, but its connections may be open. */
  readonly expired: boolean;
}

export interface Charge {
  readonly bytes: number;
  /** The last epoch that anything was pulled of. */
  readonly epoch: number;
  /** Of this, by top-up of that epoch. */
  readonly topUp?: { readonly epoch: number; readonly bytes: number };
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
/** Of distributions that are long gone nobody asks. */
const MAX_UIDS = 2_000;

export interface Ledger {
  /** Not settled and not closed. */
  readonly leases: ReadonlyMap<string, LeaseRecord>;
  /** Start of the traffic period, milliseconds since the Unix epoch; 0 before the first. */
  readonly periodStartMs: number;
  /** Of settled and closed leases in the period. */
  readonly settledBytes: number;
  /** The same by second of the wall clock, for the last two minutes. */
  readonly recent: readonly SettledSecond[];
  /** Settled and closed leases, by distribution, over all periods; the latest ones. */
  readonly charges: ReadonlyMap<string, Charge>;
  readonly term: number;
}

export const emptyLedger: Ledger = {
  leases: new Map(),
  periodStartMs: 0,
  settledBytes: 0,
  recent: [],
  charges: new Map(),
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
      return without(ledger, entry.leaseId, () => entry.usedBytes, entry.atMs);
    case 'close':
      return without(ledger, entry.leaseId, maxBytesOf, entry.atMs);
    case 'period':
      // Leases that live across the boundary count whole in the new period, too.
      return {
        ...ledger,
        periodStartMs: entry.startMs,
        settledBytes: carriedInto(ledger, entry.startMs),
      };
    case 'fence':
      return { ...ledger, term: Math.max(ledger.term, entry.term) };
  }
}

/** Start of the period that counts at this time of the wall clock. */
export function periodStartAt(nowMs: number, periodMs: number): number {
  return Math.floor((nowMs - BOUNDARY_MS) / periodMs) * periodMs;
}

function carriedInto({ periodStartMs, settledBytes, recent }: Ledger, startMs: number): number {
  // Without a period before it, the journal may have begun within this one.
  if (periodStartMs === 0) return settledBytes;
  const from = startMs - BOUNDARY_MS;
  return recent
    .filter(({ second }) => (second + 1) * 1000 > from)
    .reduce((sum, { bytes }) => sum + bytes, 0);
}

/** What counts against the limits now. */
export interface Usage {
  readonly connections: number;
  readonly rateBytesPerSecond: number;
  /** Sum of rate x 1 s + slack: the most that the origin emits in any second. */
  readonly windowBytes: number;
  readonly trafficBytes: number;
}

/** `except` leaves one lease out: what all the others take. */
export function usageOf(ledger: Ledger, except?: string): Usage {
  let connections = 0;
  let rateBytesPerSecond = 0;
  let windowBytes = 0;
  let trafficBytes = ledger.settledBytes;
  for (const lease of ledger.leases.values()) {
    if (lease.leaseId === except) continue;
    connections += connectionsOf(lease);
    rateBytesPerSecond += lease.expired ? 0 : rateOf(lease);
    windowBytes += windowBytesOf(lease);
    trafficBytes += maxBytesOf(lease);
  }
  return { connections, rateBytesPerSecond, windowBytes, trafficBytes };
}

export function maxBytesOf({ versions }: LeaseRecord): number {
  return Math.max(...versions.map(({ maxBytes }) => maxBytes));
}

export function connectionsOf({ versions }: LeaseRecord): number {
  return Math.max(...versions.map(({ connections }) => connections));
}

function rateOf({ versions }: LeaseRecord): number {
  return Math.max(...versions.map(({ rateBytesPerSecond }) => rateBytesPerSecond));
}

function windowBytesOf({ versions, expired }: LeaseRecord): number {
  const windows = versions.map(({ rateBytesPerSecond, slackBytes }) =>
    expired ? slackBytes : rateBytesPerSecond + slackBytes,
  );
  return Math.max(...windows);
}

/** Of settled and closed leases, for one distribution, over all periods. */
export function chargeOf(ledger: Ledger, uid: string): Charge {
  return ledger.charges.get(uid) ?? { bytes: 0, epoch: 0 };
}

/**
 * What top-up of this epoch may have taken: charged whole while a lease is open, settled down to
 * what was used. `except` leaves one lease out.
 */
export function topUpBytesOf(ledger: Ledger, uid: string, epoch: number, except?: string): number {
  const { topUp } = chargeOf(ledger, uid);
  let bytes = topUp?.epoch === epoch ? topUp.bytes : 0;
  for (const lease of ledger.leases.values()) {
    const counts = lease.purpose === 'topUp' && lease.uid === uid && lease.epoch === epoch;
    if (counts && lease.leaseId !== except) bytes += maxBytesOf(lease);
  }
  return bytes;
}

/** As JSON can hold it, for snapshots. */
export interface LedgerSnapshot {
  readonly leases: readonly LeaseRecord[];
  readonly periodStartMs: number;
  readonly settledBytes: number;
  readonly recent: readonly SettledSecond[];
  readonly charges: readonly (readonly [string, Charge])[];
  readonly term: number;
}

export function toSnapshot(ledger: Ledger): LedgerSnapshot {
  return {
    ...ledger,
    leases: [...ledger.leases.values()],
    charges: [...ledger.charges],
  };
}

export function fromSnapshot(snapshot: LedgerSnapshot): Ledger {
  return {
    ...snapshot,
    leases: new Map(snapshot.leases.map((lease) => [lease.leaseId, lease])),
    charges: new Map(snapshot.charges.map(([uid, charge]) => [uid, charge])),
  };
}

function withLease(ledger: Ledger, lease: LeaseRecord): Ledger {
  return { ...ledger, leases: new Map(ledger.leases).set(lease.leaseId, lease) };
}

function without(
  ledger: Ledger,
  leaseId: string,
  charge: (lease: LeaseRecord) => number,
  atMs: number,
): Ledger {
  const lease = ledger.leases.get(leaseId);
  if (lease === undefined) return ledger;
  const bytes = charge(lease);
  const leases = new Map(ledger.leases);
  leases.delete(leaseId);
  const before = chargeOf(ledger, lease.uid);
  const charges = new Map(ledger.charges);
  // At the end again: the first ones are those that were charged longest ago.
  charges.delete(lease.uid);
  const epoch = bytes > 0 ? Math.max(before.epoch, lease.epoch) : before.epoch;
  charges.set(lease.uid, {
    bytes: before.bytes + bytes,
    epoch,
    ...topUpAfter(before, lease, bytes),
  });
  for (const uid of charges.keys()) {
    if (charges.size <= MAX_UIDS) break;
    charges.delete(uid);
  }
  return {
    ...ledger,
    leases,
    charges,
    settledBytes: ledger.settledBytes + bytes,
    recent: withSettled(ledger.recent, bytes, atMs),
  };
}

function topUpAfter({ topUp }: Charge, lease: LeaseRecord, bytes: number): Pick<Charge, 'topUp'> {
  const isNewer = lease.epoch > (topUp?.epoch ?? 0);
  if (lease.purpose !== 'topUp' || (!isNewer && lease.epoch !== topUp?.epoch)) {
    return topUp === undefined ? {} : { topUp };
  }
  return { topUp: { epoch: lease.epoch, bytes: (isNewer ? 0 : (topUp?.bytes ?? 0)) + bytes } };
}

function withSettled(
  recent: readonly SettledSecond[],
  bytes: number,
  atMs: number,
): SettledSecond[] {
  const last = recent.at(-1);
  // A clock that is set back moves nothing into an earlier period.
  const second = Math.max(Math.floor(atMs / 1000), last?.second ?? 0);
  const oldest = second - (2 * BOUNDARY_MS) / 1000;
  const kept = recent.filter((each) => each.second >= oldest);
  if (last?.second !== second) return [...kept, { second, bytes }];
  return [...kept.slice(0, -1), { second, bytes: last.bytes + bytes }];
}
