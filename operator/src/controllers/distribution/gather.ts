/** Everything that the decision about one distribution needs, read from copies and memory. */
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { isNotReady, type NodeObject } from '../../kube/objects.ts';
import type { DistributionInput } from '../../policies/distribution.ts';
import type { Failure } from '../../policies/failures.ts';
import { wrongMirrors } from '../../policies/mirrors.ts';
import { targetNodes } from '../../policies/nodes.ts';
import type { DistributionProgress, EpochRecord, OriginRefusal } from '../dataSide.ts';

export interface Known {
  readonly distribution: Distribution;
  readonly neighbours: Iterable<Distribution>;
  readonly nodes: Iterable<NodeObject>;
  readonly record: EpochRecord | undefined;
  readonly progress: DistributionProgress | undefined;
  readonly failure: Failure | undefined;
  readonly refusal: OriginRefusal | undefined;
}

export function gather(known: Known): DistributionInput {
  const { metadata, spec } = known.distribution;
  const { record, progress } = known;
  const nodes = targetNodes(nodeFacts(known.nodes), spec.target, spec.relays.topologyKey);
  return {
    uid: metadata.uid,
    name: metadata.name,
    createdAt: metadata.creationTimestamp,
    deleting: metadata.deletionTimestamp !== undefined,
    spec,
    neighbours: [...known.neighbours].map((other) => ({
      uid: other.metadata.uid,
      name: other.metadata.name,
      path: other.spec.target.path,
      createdAt: other.metadata.creationTimestamp,
    })),
    record,
    // A completed epoch stays, whatever the origin does.
    sourceChanged:
      progress?.epoch === record?.epoch &&
      progress?.sourceChanged === true &&
      progress.nodes.some((node) => node.state !== 'ready'),
    wrongMirrors: progress?.epoch === record?.epoch ? wrongMirrors(progress) : [],
    failure: known.failure,
    nodes,
    refusal: known.refusal,
  };
}

function* nodeFacts(nodes: Iterable<NodeObject>) {
  for (const node of nodes) {
    const { name, uid, labels = {} } = node.metadata;
    const unschedulable = node.spec?.unschedulable === true;
    yield { name, uid, labels, unschedulable, notReady: isNotReady(node) };
  }
}
