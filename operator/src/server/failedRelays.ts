/** Relays of a distribution that are there and cannot work on its epoch, as on a disk that is too small. */
import type { DistributionPlan, FailedRelay } from '../controllers/dataSide.ts';
import { type FleetProcess, isFailedRelay } from './fleetView.ts';
import { domainIn } from './work.ts';

const UNSAID = { reason: 'Unknown', message: 'it gave no reason' };

export function failedRelaysOf(
  plan: DistributionPlan,
  relays: readonly FleetProcess[],
): FailedRelay[] {
  const { uid, epoch } = plan.record;
  return relays
    .filter((relay) => isFailedRelay(relay, plan.record))
    .flatMap((relay) => {
      const domain = domainIn(plan, relay);
      if (domain === undefined) return [];
      return [{ domain, ...(relay.reports.get(uid, epoch)?.error ?? UNSAID) }];
    });
}
