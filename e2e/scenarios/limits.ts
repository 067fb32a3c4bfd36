import type { OriginLimits } from '../install/resources.ts';

const MIB = 1024 * 1024;

/** What Sluice may take from the origin in every scenario: slow enough to interfere half way. */
export const LIMITS: OriginLimits = {
  maxConnections: 4,
  maxBandwidth: 8 * MIB,
  maxTraffic: { bytes: 100_000 * MIB, period: '24h' },
};
