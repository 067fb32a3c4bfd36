/** What nodes may take from an origin themselves, when they are short. */
import type { DistributionPlan, OriginPolicy } from '../controllers/dataSide.ts';

type TopUpPlan = Pick<
  DistributionPlan,
  'record' | 'headers' | 'delivery' | 'maxOriginShare' | 'nodes'
>;

/** Bytes of this epoch for all nodes together; undefined: they take nothing from the origin. */
export function topUpBytes(plan: TopUpPlan, policy: OriginPolicy | undefined): number | undefined {
  const { record, headers, delivery, maxOriginShare, nodes } = plan;
  const hasCredentials = Object.keys(headers).length > 0;
  if (!delivery.topUp.includes('Origin')) return undefined;
  // A stream from the first byte on, for one piece, would cost more than it helps.
  if (!record.source.ranges) return undefined;
  if (hasCredentials && policy?.allowAgentCredentials !== true) return undefined;
  return Math.floor(maxOriginShare * nodes.length * record.source.sizeBytes);
}
