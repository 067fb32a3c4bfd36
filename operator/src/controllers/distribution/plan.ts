/** The epoch and the rest of the spec, in units, for those who work on it. */
import { nodesOf } from '../../api/v1alpha1/counts.ts';
import type { DistributionSpec } from '../../api/v1alpha1/distribution.ts';
import { parseBytes } from '../../api/v1alpha1/quantity.ts';
import { planMirrors } from '../../policies/mirrors.ts';
import { isAwaited, type TargetNode } from '../../policies/nodes.ts';
import type { DistributionPlan, EpochRecord } from '../dataSide.ts';

export function planOf(
  spec: DistributionSpec,
  record: EpochRecord,
  /** Undefined: they cannot be read. */
  credentials: Readonly<Record<string, string>> | undefined,
  nodes: readonly TargetNode[],
): DistributionPlan {
  const { delivery, target } = spec;
  const headers = credentials ?? {};
  return {
    record,
    headers,
    ...(credentials === undefined && { lacksCredentials: true }),
    mirrors: planMirrors(spec.source.mirrors ?? [], record, headers),
    delivery: {
      ...rate('minRate', delivery.minRate),
      ...rate('maxRate', delivery.maxRate),
      ...rate('maxUploadRate', delivery.maxUploadRate),
      topUp: delivery.topUp,
      transport: delivery.transport,
    },
    maxOriginShare: Number.parseInt(delivery.maxOriginShare, 10) / 100,
    target: {
      path: target.path,
      fileMode: target.fileMode,
      keepVersions: target.keepVersions,
    },
    nodes: nodesInTurn(nodes),
    priority: spec.priority,
    suspend: spec.suspend,
    dedicatedRelays: spec.relays.dedicated,
    leaving: {
      deleteFiles: spec.deletionPolicy === 'Delete',
      graceMs: spec.deletionGraceSeconds * 1000,
    },
    ...parallel(nodesOf(delivery.maxParallelNodes, nodes.length, 'up'), nodes.length),
  };
}

/** By the selection, of which Targets gives the same array until a node changes. */
const nodesOfPlans = new WeakMap<readonly TargetNode[], DistributionPlan['nodes']>();

/** Those that somebody waits for first: where few may transfer at once, they do. */
function nodesInTurn(selection: readonly TargetNode[]): DistributionPlan['nodes'] {
  const known = nodesOfPlans.get(selection);
  if (known !== undefined) return known;
  const ordered = [...selection.filter(isAwaited), ...selection.filter((node) => !isAwaited(node))];
  const nodes = ordered.map(({ name, domain, uid }) => ({ name, domain, ...(uid && { uid }) }));
  nodesOfPlans.set(selection, nodes);
  return nodes;
}

/** Which relays a distribution wants. */
export function relaysOf(relays: DistributionSpec['relays'], uid: string, namespace: string) {
  const { topologyKey, nodesPerRelay, dedicated } = relays;
  return { namespace, topologyKey, nodesPerRelay, ...(dedicated && { dedicatedTo: uid }) };
}

/** A limit that leaves all of them is none. */
function parallel(most: number, total: number): { readonly maxParallelNodes?: number } {
  return most < total ? { maxParallelNodes: most } : {};
}

/** The CRD admits only what parses; anything else is as good as absent. */
function rate<Name extends string>(
  name: Name,
  quantity: string | number | undefined,
): { readonly [key in Name]?: number } {
  const bytes = quantity === undefined ? undefined : parseBytes(quantity);
  return (bytes === undefined ? {} : { [name]: bytes }) as { readonly [key in Name]?: number };
}
