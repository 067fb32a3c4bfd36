/** What was charged to each distribution, of leases that are over, over all periods. PURE. */
import { PersistentMap } from './persistentMap.ts';

export interface Charge {
  readonly bytes: number;
  /** The last epoch that anything was pulled of. */
  readonly epoch: number;
  /** Of this, by top-up of that epoch. */
  readonly topUp?: { readonly epoch: number; readonly bytes: number };
}

/** Of a lease: to whom it is charged. */
export interface Charged {
  readonly uid: string;
  readonly epoch: number;
  readonly purpose?: 'topUp';
}

/**
 * By distribution, in two generations: when the newer one is full, the older one is forgotten, which
 * nobody was charged to for longest. Nobody asks for distributions that are long gone.
 */
export interface Charges {
  readonly newer: PersistentMap<Charge>;
  readonly older: PersistentMap<Charge>;
}

/** So many distributions at least are known, twice as many at most. */
export const GENERATION_UIDS = 2_000;

export const noCharges: Charges = { newer: PersistentMap.empty(), older: PersistentMap.empty() };

export function chargeTo({ newer, older }: Charges, uid: string): Charge {
  return newer.get(uid) ?? older.get(uid) ?? { bytes: 0, epoch: 0 };
}

export function withCharge(charges: Charges, lease: Charged, bytes: number): Charges {
  const before = chargeTo(charges, lease.uid);
  const charge: Charge = {
    bytes: before.bytes + bytes,
    epoch: bytes > 0 ? Math.max(before.epoch, lease.epoch) : before.epoch,
    ...topUpAfter(before, lease, bytes),
  };
  const newer = charges.newer.with(lease.uid, charge);
  if (newer.size < GENERATION_UIDS) return { newer, older: charges.older };
  return { newer: PersistentMap.empty(), older: newer };
}

function topUpAfter({ topUp }: Charge, lease: Charged, bytes: number): Pick<Charge, 'topUp'> {
  const isNewer = lease.epoch > (topUp?.epoch ?? 0);
  if (lease.purpose !== 'topUp' || (!isNewer && lease.epoch !== topUp?.epoch)) {
    return topUp === undefined ? {} : { topUp };
  }
  return { topUp: { epoch: lease.epoch, bytes: (isNewer ? 0 : (topUp?.bytes ?? 0)) + bytes } };
}
