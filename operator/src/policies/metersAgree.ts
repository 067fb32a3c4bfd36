/** What an Origin says of holders whose meters disagree: who, by how much, and what to do. */
import { formatBytes } from '../api/v1alpha1/quantity.ts';
import type { MeterDisagreement, MeterReason } from '../controllers/dataSide.ts';
import type { OriginCondition } from './originConditions.ts';

const MAX_NAMED = 3;

const REMEDIES: Readonly<Record<MeterReason, string>> = {
  UseUnderstated:
    'it counts wrong: keep its log, restart it, and update it to the version of the operator',
  MetersApart:
    'either the origin sends what its answers do not name (chunks of some bytes, interim answers, bytes that nobody asked for), or the process counts wrong: compare with the log of the origin',
  UseOverGrant:
    'the origin has sent more than it was asked for, and spec.limits.maxTraffic may be exceeded by that much: look at its answers to requests for ranges',
};

export function metersAgree(
  disagreements: readonly MeterDisagreement[],
): OriginCondition<'MetersAgree'> {
  const [latest] = disagreements;
  if (latest === undefined) {
    const message = 'what holders report of their leases agrees with what the origin has answered';
    return { type: 'MetersAgree', status: 'True', reason: 'MetersAgree', message };
  }
  const { reason } = latest;
  const named = disagreements.slice(0, MAX_NAMED).map(textOf);
  const more = disagreements.length - named.length;
  const list = [...named, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
  const message = `${list}. The higher is charged. Of the first: ${REMEDIES[reason]}`;
  return { type: 'MetersAgree', status: 'False', reason, message };
}

function textOf({ holder, reason, reportedBytes, otherBytes }: MeterDisagreement): string {
  const [reported, other] = [reportedBytes, otherBytes].map(formatBytes);
  switch (reason) {
    case 'UseUnderstated':
      return `${holder} reports ${reported} used under a lease, and has ${other} by its other meters`;
    case 'MetersApart':
      return `the sockets of ${holder} have read ${reported} under a lease, where the answers of the origin say ${other}`;
    case 'UseOverGrant':
      return `${holder} has used ${reported} of a lease for ${other}`;
  }
}
