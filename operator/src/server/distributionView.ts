/** What the read side tells of a distribution, relay by relay and node by node. */
import type { TransferReport } from '@sluice/protocol/messages.ts';
import type { DistributionProgress, EpochRecord, NodeProgress } from '../controllers/dataSide.ts';
import type { FleetProcess } from './fleetView.ts';

export interface RelayView {
  readonly name: string;
  readonly node: string;
  readonly domain: string;
  readonly state: string;
  readonly verifiedBytes: number;
  readonly rateBytesPerSecond: number;
  readonly received: NodeProgress['received'];
  readonly uploadedBytes: number;
  /** Milliseconds since the Unix epoch, on the relay's clock. */
  readonly firstByteAtMs?: number | undefined;
}

export interface NodeView extends NodeProgress {
  readonly uploadedBytes: number;
  readonly firstByteAtMs?: number | undefined;
}

export interface DistributionView {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly epoch: number;
  readonly sizeBytes: number;
  readonly pieces: number;
  readonly originBytes: number;
  readonly relays: readonly RelayView[];
  readonly nodes: readonly NodeView[];
}

export function distributionViewOf(
  { uid, owner = uid, namespace, name, epoch, source, pieceCount }: EpochRecord,
  progress: DistributionProgress,
  processes: Iterable<FleetProcess>,
): DistributionView {
  const reports = new Map<string, TransferReport>();
  const relays: RelayView[] = [];
  for (const process of processes) {
    const report = process.reports.get(uid, epoch);
    if (report === undefined) continue;
    if (process.kind === 'agent') reports.set(process.node, report);
    else relays.push(relayViewOf(process, report));
  }
  return {
    uid: owner,
    namespace,
    name,
    epoch,
    sizeBytes: source.sizeBytes,
    pieces: pieceCount,
    originBytes: progress.originBytes,
    relays,
    nodes: progress.nodes.map((node) => ({
      ...node,
      uploadedBytes: reports.get(node.name)?.uploadedBytes ?? 0,
      firstByteAtMs: reports.get(node.name)?.firstByteAtMs,
    })),
  };
}

function relayViewOf(process: FleetProcess, report: TransferReport): RelayView {
  const { state, verifiedBytes, rateBytesPerSecond, received, uploadedBytes, firstByteAtMs } =
    report;
  return {
    name: process.pod,
    node: process.node,
    domain: process.domain ?? '',
    state,
    verifiedBytes,
    rateBytesPerSecond,
    received,
    uploadedBytes,
    firstByteAtMs,
  };
}
