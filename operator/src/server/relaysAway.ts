import { DOMAIN_LABEL } from '../controllers/fleet/manifests.ts';
import type { PodObject } from './callers.ts';
import type { FleetProcess } from './fleetView.ts';

/**
 * Whether a relay runs that is not connected. A leader that has just begun knows of a relay's pieces
 * only by its word; the kubelet tells of the pod, also of one that is stopping and gives away what it
 * has.
 */
export function isRelayAway(
  pods: Iterable<PodObject>,
  relays: readonly Pick<FleetProcess, 'podUid'>[],
): boolean {
  const connected = new Set(relays.map(({ podUid }) => podUid));
  for (const { metadata, status } of pods) {
    if (metadata.labels?.[DOMAIN_LABEL] === undefined || connected.has(metadata.uid)) continue;
    if (status?.containerStatuses?.some(({ state }) => state?.running !== undefined)) return true;
  }
  return false;
}
