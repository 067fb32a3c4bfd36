import type { Puller } from '@sluice/engine/session/puller.ts';
import type { LeaseGrant, Meters } from '../leaseMessages.ts';

/** What was taken under a lease, over one pull after the other. */
export interface Taken {
  readonly usedBytes: number;
  readonly meters: Meters;
}

export const NOTHING_TAKEN: Taken = {
  usedBytes: 0,
  meters: { socketBytes: 0, answeredBytes: 0, pieceBytes: 0 },
};

/** With what this pull has taken after those before it. */
export function takenWith(before: Taken, puller: Puller): Taken {
  const { socketBytes, answeredBytes, pieceBytes } = puller.meters();
  return {
    usedBytes: Math.ceil(before.usedBytes + puller.usedBytes()),
    meters: {
      socketBytes: before.meters.socketBytes + socketBytes,
      answeredBytes: before.meters.answeredBytes + answeredBytes,
      pieceBytes: before.meters.pieceBytes + pieceBytes,
    },
  };
}

/** The grant for the next pull alone: maxBytes counts over the whole lease. */
export function grantAfter(before: Taken, grant: LeaseGrant): LeaseGrant {
  return { ...grant, maxBytes: Math.max(0, grant.maxBytes - before.usedBytes) };
}
