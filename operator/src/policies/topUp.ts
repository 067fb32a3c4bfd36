/** What nodes may take from an origin themselves, when they are short. */
import type { DistributionPlan, OriginPolicy } from '../controllers/dataSide.ts';

type TopUpPlan = Pick<
  DistributionPlan,
  'record' | 'headers' | 'lacksCredentials' | 'delivery' | 'maxOriginShare' | 'nodes'
>;

/** Bytes of this epoch for all nodes together; undefined: they take nothing from the origin. */
export function topUpBytes(plan: TopUpPlan, policy: OriginPolicy | undefined): number | undefined {
  const { record, delivery, maxOriginShare, nodes } = plan;
  if (!delivery.topUp.includes('Origin')) return undefined;
  // A stream from the first byte on, for one piece, would cost more than it helps.
  if (!record.source.ranges) return undefined;
  if (!agentsMayKnow(plan, policy)) return undefined;
  return Math.floor(maxOriginShare * nodes.length * record.source.sizeBytes);
}

/**
 * Credentials of the source go to agents only where that is allowed; those that cannot be read now
 * are credentials, too.
 */
export function agentsMayKnow(
  { headers, lacksCredentials }: Pick<DistributionPlan, 'headers' | 'lacksCredentials'>,
  policy: OriginPolicy | undefined,
): boolean {
  if (lacksCredentials === true) return false;
  return Object.keys(headers).length === 0 || policy?.allowAgentCredentials === true;
}
