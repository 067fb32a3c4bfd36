/** Everything that the decision about one distribution needs, read from copies and memory. */
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import type { DistributionInput, Neighbour } from '../../policies/distribution.ts';
import type { Failure, SourceReason } from '../../policies/failures.ts';
import { wrongMirrors } from '../../policies/mirrors.ts';
import type { TargetNode } from '../../policies/nodes.ts';
import type { DistributionProgress, EpochRecord, OriginRefusal } from '../dataSide.ts';

export interface Known {
  readonly distribution: Distribution;
  readonly neighbours: readonly Neighbour[];
  readonly nodes: readonly TargetNode[];
  readonly record: EpochRecord | undefined;
  readonly progress: DistributionProgress | undefined;
  readonly failure: Failure<SourceReason> | undefined;
  readonly refusal: OriginRefusal | undefined;
}

export function gather(known: Known): DistributionInput {
  const { metadata, spec } = known.distribution;
  const { record, progress, neighbours, nodes } = known;
  return {
    uid: metadata.uid,
    name: metadata.name,
    createdAt: metadata.creationTimestamp,
    deleting: metadata.deletionTimestamp !== undefined,
    spec,
    neighbours,
    record,
    // A completed epoch stays, whatever the origin does, and whoever joins later.
    sourceChanged:
      record?.completedAt === undefined &&
      progress?.epoch === record?.epoch &&
      progress?.sourceChanged === true &&
      progress.nodes.some((node) => node.state !== 'ready'),
    wrongMirrors: progress?.epoch === record?.epoch ? wrongMirrors(progress) : [],
    failure: known.failure,
    nodes,
    refusal: known.refusal,
  };
}
