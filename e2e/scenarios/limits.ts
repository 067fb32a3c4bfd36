import type { OriginLimits } from '../install/resources.ts';

const MIB = 1024 * 1024;

/**
 * Of the chart. Relays stay long enough for one scenario after the other, short enough to see them
 * go; files that rot are found while one waits; a taint keeps an agent from its node.
 */
export const SETTINGS = {
  relayIdleSeconds: 15,
  nodeLabels: true,
  checkSeconds: 5,
  rehashSeconds: 10,
  agentTolerations: [],
} as const;

/** What Sluice may take from the origin in every scenario: slow enough to interfere half way. */
export const LIMITS: OriginLimits = {
  maxConnections: 4,
  maxBandwidth: 8 * MIB,
  maxTraffic: { bytes: 100_000 * MIB, period: '24h' },
};
