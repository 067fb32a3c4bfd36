/** What an Origin allows, as the leader counts it. PURE. */
import type { OriginPolicy } from '../controllers/dataSide.ts';

export interface Limits {
  readonly connections: number;
  readonly bandwidthBytesPerSecond: number;
  readonly traffic: { readonly bytes: number; readonly periodMs: number } | undefined;
  readonly closeAfterMs: number;
}

export function limitsOf(policy: Pick<OriginPolicy, 'limits' | 'closeAfterSeconds'>): Limits {
  const { maxConnections, maxBandwidthBytesPerSecond, maxTraffic } = policy.limits;
  return {
    connections: maxConnections ?? Number.POSITIVE_INFINITY,
    bandwidthBytesPerSecond: maxBandwidthBytesPerSecond ?? Number.POSITIVE_INFINITY,
    traffic: maxTraffic && { bytes: maxTraffic.bytes, periodMs: maxTraffic.periodSeconds * 1000 },
    closeAfterMs: policy.closeAfterSeconds * 1000,
  };
}

export function isSameLimits(one: Limits, other: Limits): boolean {
  return (
    one.connections === other.connections &&
    one.bandwidthBytesPerSecond === other.bandwidthBytesPerSecond &&
    one.traffic?.bytes === other.traffic?.bytes &&
    one.traffic?.periodMs === other.traffic?.periodMs
  );
}

/** Of several that hold together. */
export function strictest(all: readonly Limits[]): Limits {
  const traffics = all.flatMap(({ traffic }) => traffic ?? []);
  return {
    connections: Math.min(...all.map(({ connections }) => connections)),
    bandwidthBytesPerSecond: Math.min(
      ...all.map(({ bandwidthBytesPerSecond }) => bandwidthBytesPerSecond),
    ),
    // The longest period keeps what was taken longest.
    traffic: traffics.sort((a, b) => b.periodMs - a.periodMs)[0],
    closeAfterMs: Math.max(...all.map(({ closeAfterMs }) => closeAfterMs)),
  };
}
