/**
 * Whether what a holder reports of a lease can be. It counts what came in ways that share no code:
 * what it says that it has used, what its sockets read, what the origin's answers say of
 * themselves, and the pieces that are there. What disagrees is charged high, and shown.
 */
import type { Meters } from '@sluice/protocol/leaseMessages.ts';
import type { MeterDisagreement } from '../controllers/dataSide.ts';

export interface UseReport {
  readonly usedBytes: number;
  /** Undefined: of a process that does not count so. */
  readonly meters: Meters | undefined;
  /** Everything of the lease is over: nothing is charged ahead any more. */
  readonly isOver: boolean;
}

export interface UseVerdict {
  /** The highest of all that was said. */
  readonly chargedBytes: number;
  readonly disagreement: Omit<MeterDisagreement, 'holder' | 'atMs'> | undefined;
}

/** The framing of chunks and interim answers are in no answer's own words. */
const APART_SHARE = 0.05;
const APART_BYTES = 65_536;
/** What a last read of the socket may bring at once, beside a longer head than those before. */
const OVER_GRANT_BYTES = 131_072;

/** `provenBytes`: what the holder's earlier reports of this lease prove; `grantedBytes`: its most. */
export function judgeUse(
  { usedBytes, meters, isOver }: UseReport,
  provenBytes: number,
  grantedBytes: number,
): UseVerdict {
  const proven = Math.max(provenBytes, provenBy(meters));
  const chargedBytes = Math.max(usedBytes, proven);
  // What is charged ahead for answers under way is no use yet.
  const surely = isOver ? chargedBytes : proven;
  return {
    chargedBytes,
    disagreement:
      understated(usedBytes, proven) ?? apart(meters) ?? overGrant(surely, grantedBytes),
  };
}

/** What surely came. */
export function provenBy(meters: Meters | undefined): number {
  if (meters === undefined) return 0;
  return Math.max(meters.socketBytes, meters.answeredBytes, meters.pieceBytes);
}

type Found = UseVerdict['disagreement'];

function understated(reportedBytes: number, otherBytes: number): Found {
  if (reportedBytes >= otherBytes) return undefined;
  return { reason: 'UseUnderstated', reportedBytes, otherBytes };
}

function apart(meters: Meters | undefined): Found {
  if (meters === undefined) return undefined;
  const { socketBytes, answeredBytes } = meters;
  const most = Math.max(APART_BYTES, APART_SHARE * Math.max(socketBytes, answeredBytes));
  if (Math.abs(socketBytes - answeredBytes) <= most) return undefined;
  return { reason: 'MetersApart', reportedBytes: socketBytes, otherBytes: answeredBytes };
}

function overGrant(reportedBytes: number, otherBytes: number): Found {
  if (reportedBytes <= otherBytes + OVER_GRANT_BYTES) return undefined;
  return { reason: 'UseOverGrant', reportedBytes, otherBytes };
}
