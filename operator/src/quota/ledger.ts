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
  readonly uid: string;
  readonly epoch: number;
  readonly host: string;
  readonly pullerKey: string;
  readonly wantConnections: number;
  /** The newest last; every one of them may still be in force at the holder. */
  readonly versions: readonly LeaseVersion[];
  readonly extents: readonly Extent[];
  /** Expired, but its connections may be open. */
  readonly expired: boolean;
}

export interface Ledger {
  /** Not settled and not closed. */
  readonly leases: ReadonlyMap<string, LeaseRecord>;
  /** Start of the traffic period, milliseconds since the Unix epoch; 0 before the first. */
  readonly periodStartMs: number;
  /** Of settled and closed leases in the period. */
  readonly settledBytes: number;
  /** Of settled and closed leases, by distribution, over all periods. */
  readonly bytesByUid: ReadonlyMap<string, number>;
  readonly term: number;
}

export const emptyLedger: Ledger = {
  leases: new Map(),
  periodStartMs: 0,
  settledBytes: 0,
  bytesByUid: new Map(),
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
      const inForce = lease.versions.filter(({ version }) => version >= entry.acknowledged);
      const versions = [...inForce, { ...entry.terms, version: entry.version }];
      return withLease(ledger, { ...lease, versions, extents: entry.extents });
    }
    case 'expire': {
      const lease = ledger.leases.get(entry.leaseId);
      return lease === undefined ? ledger : withLease(ledger, { ...lease, expired: true });
    }
    case 'settle':
      return without(ledger, entry.leaseId, () => entry.usedBytes);
    case 'close':
      return without(ledger, entry.leaseId, maxBytesOf);
    case 'period':
      // Leases that live across the boundary count whole in the new period, too.
      return { ...ledger, periodStartMs: entry.startMs, settledBytes: entry.carriedBytes };
    case 'fence':
      return { ...ledger, term: Math.max(ledger.term, entry.term) };
  }
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

/** Settled and unsettled, for one distribution, over all periods. */
export function bytesOf(ledger: Ledger, uid: string): number {
  return ledger.bytesByUid.get(uid) ?? 0;
}

/** As JSON can hold it, for snapshots. */
export interface LedgerSnapshot {
  readonly leases: readonly LeaseRecord[];
  readonly periodStartMs: number;
  readonly settledBytes: number;
  readonly bytesByUid: readonly (readonly [string, number])[];
  readonly term: number;
}

export function toSnapshot(ledger: Ledger): LedgerSnapshot {
  return {
    ...ledger,
    leases: [...ledger.leases.values()],
    bytesByUid: [...ledger.bytesByUid],
  };
}

export function fromSnapshot(snapshot: LedgerSnapshot): Ledger {
  return {
    ...snapshot,
    leases: new Map(snapshot.leases.map((lease) => [lease.leaseId, lease])),
    bytesByUid: new Map(snapshot.bytesByUid.map(([uid, bytes]) => [uid, bytes])),
  };
}

function withLease(ledger: Ledger, lease: LeaseRecord): Ledger {
  return { ...ledger, leases: new Map(ledger.leases).set(lease.leaseId, lease) };
}

function without(ledger: Ledger, leaseId: string, charge: (lease: LeaseRecord) => number): Ledger {
  const lease = ledger.leases.get(leaseId);
  if (lease === undefined) return ledger;
  const bytes = charge(lease);
  const leases = new Map(ledger.leases);
  leases.delete(leaseId);
  const bytesByUid = new Map(ledger.bytesByUid);
  bytesByUid.set(lease.uid, (bytesByUid.get(lease.uid) ?? 0) + bytes);
  return { ...ledger, leases, bytesByUid, settledBytes: ledger.settledBytes + bytes };
}
