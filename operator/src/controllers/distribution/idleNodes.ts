/** Nodes for which no relay has to run. */
import { wantsBytes } from '../../policies/relays.ts';
import type { DistributionProgress, EpochRecord, NodeProgress } from '../dataSide.ts';
import type { Memory } from './memory.ts';

/** Whether a node of this name wants nothing of the record's epoch, or nothing that relays have. */
export function idleNodes(
  memory: Pick<Memory, 'failures' | 'isSourceGone'>,
  record: EpochRecord | undefined,
  progress: DistributionProgress | undefined,
): (name: string) => boolean {
  if (record?.source.sizeBytes === 0) return () => true;
  if (progress === undefined || progress.epoch !== record?.epoch) return () => false;
  // A try that follows a failure is none to users, and would keep all relays of its domain for good.
  const isIdle = (node: NodeProgress) =>
    !wantsBytes(node) || memory.failures.has(node.name) || memory.isSourceGone;
  const idle = new Set(progress.nodes.filter(isIdle).map((node) => node.name));
  return (name) => idle.has(name);
}
