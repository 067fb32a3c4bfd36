import type {
  DistributionPlan,
  DistributionProgress,
  PullFailure,
} from '../controllers/dataSide.ts';
import type { LeaseService } from '../quota/leaseService.ts';

/** How a plan's mirrors do, by the leases for them. */
export function mirrorProgress(
  { record, mirrors = [] }: DistributionPlan,
  leases: Pick<LeaseService, 'mirrorFailureOf' | 'suspectMirrors'>,
): Required<Pick<DistributionProgress, 'mirrorFailures' | 'suspectMirrors'>> {
  const { uid, epoch } = record;
  const mirrorFailures = new Map<string, PullFailure>();
  for (const { id, url } of mirrors) {
    const failure = leases.mirrorFailureOf(uid, epoch, id);
    if (failure !== undefined) mirrorFailures.set(url, failure);
  }
  return { mirrorFailures, suspectMirrors: leases.suspectMirrors(uid, epoch) };
}
