/** The cluster of the demonstration and the benchmark: six nodes in two zones, shaped links. */
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import { sluiceImages } from '../cluster/images.ts';
import { type OriginLimits, originResource } from '../install/resources.ts';
import { archivesOf, installSluice, type Sluice } from '../install/sluice.ts';

export const MIB = 1024 * 1024;
export const FILE_BYTES = 256 * MIB;
export const NODES = 6;
export const ZONES = 2;
/** Bits per second of every node's link, each way: all together 600 Mbit/s. */
export const LINK_BITS_PER_SECOND = 100_000_000;
/** The origin's own link is wider than the limit: the limit must hold by itself. */
export const ORIGIN_LINK_BITS_PER_SECOND = 200_000_000;
export const LIMITS: OriginLimits = {
  maxConnections: 4,
  maxBandwidth: 5 * MIB,
  maxTraffic: { bytes: 4096 * MIB, period: '24h' },
};

export interface Setting {
  readonly cluster: Cluster;
  readonly sluice: Sluice;
}

export async function bringUp(
  log: (line: string) => void,
  signal: AbortSignal | undefined,
): Promise<Setting> {
  const startedAt = performance.now();
  const step = (text: string) =>
    log(`${((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${text}`);
  const options = { log: (line: string) => step(line), ...(signal && { signal }) };
  const images = await sluiceImages(options);
  const link = { downBitsPerSecond: LINK_BITS_PER_SECOND, upBitsPerSecond: LINK_BITS_PER_SECOND };
  const originLink = {
    downBitsPerSecond: ORIGIN_LINK_BITS_PER_SECOND,
    upBitsPerSecond: ORIGIN_LINK_BITS_PER_SECOND,
  };
  const cluster = await startCluster({
    ...options,
    nodes: NODES,
    zones: ZONES,
    linkRate: link,
    originLinkRate: originLink,
    images: archivesOf(images),
  });
  try {
    signal?.throwIfAborted();
    step('installing Sluice from its Helm chart');
    const sluice = await installSluice(cluster, images);
    await sluice.apply(originResource('demo', 'origin.sluice.test', LIMITS));
    step('Sluice runs: operator, database, an agent on every node');
    return { cluster, sluice };
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}
