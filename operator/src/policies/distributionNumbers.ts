/** How far a distribution is, in bytes, and as the words of kubectl's columns. */
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import { formatBytes, formatSeconds } from '../api/v1alpha1/quantity.ts';
import type { EpochRecord, NodeProgress } from '../controllers/dataSide.ts';

export type Counts = NonNullable<DistributionStatus['nodes']>;
type Numbers = Pick<DistributionStatus, 'bytes' | 'summary' | 'etaSeconds'>;

export function isComplete(counts: Counts): boolean {
  return counts.ready === counts.desired;
}

export function numbersOf(
  record: EpochRecord,
  counts: Counts,
  reports: ReadonlyMap<string, NodeProgress>,
  originBytes: number,
): Numbers {
  const nodes = [...reports.values()];
  const { sizeBytes } = record.source;
  const delivered = sum(nodes, (node) => node.verifiedBytes);
  const total = sizeBytes * Math.max(counts.desired, nodes.length);
  const share = total > 0 ? delivered / total : ratio(counts.ready, counts.desired);
  const fromPeers = sum(nodes, (node) => node.received.fromPeers);
  const fromRelays = sum(nodes, (node) => node.received.fromRelays + node.received.fromRelayHttp);
  const received = fromPeers + fromRelays + sum(nodes, (node) => node.received.fromOrigin);
  const rate = isComplete(counts)
    ? 0
    : sum(nodes, (node) => (node.connected ? node.rateBytesPerSecond : 0));
  const left = Math.max(0, total - delivered);
  return {
    bytes: {
      total,
      delivered,
      perSecond: rate,
      fromPeers,
      fromRelays,
      fromOrigin: reports.size > 0 ? originBytes : 0,
    },
    ...(rate > 0 && { etaSeconds: Math.ceil(left / rate) }),
    summary: {
      nodes: `${counts.ready}/${counts.desired}`,
      size: formatBytes(sizeBytes),
      progress: percent(Math.min(1, share)),
      peers: received > 0 ? percent(fromPeers / received) : '-',
      rate: rate > 0 ? `${formatBytes(rate)}/s` : '-',
      eta: rate > 0 ? formatSeconds(left / rate) : '-',
    },
  };
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 1 : part / whole;
}

/** Rounded down: 100% means all. */
function percent(share: number): string {
  return `${Math.floor(share * 100)}%`;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
