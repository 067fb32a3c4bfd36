/** The epoch and the rest of the spec, in units, for those who work on it. */
import type { DistributionSpec } from '../../api/v1alpha1/distribution.ts';
import { parseBytes } from '../../api/v1alpha1/quantity.ts';
import type { TargetNode } from '../../policies/nodes.ts';
import type { DistributionPlan, EpochRecord } from '../dataSide.ts';

export function planOf(
  spec: DistributionSpec,
  record: EpochRecord,
  headers: Readonly<Record<string, string>>,
  nodes: readonly TargetNode[],
): DistributionPlan {
  const { delivery, target } = spec;
  return {
    record,
    headers,
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
    nodes: nodes.map(({ name, domain }) => ({ name, domain })),
    priority: spec.priority,
    suspend: spec.suspend,
  };
}

/** The CRD admits only what parses; anything else is as good as absent. */
function rate<Name extends string>(
  name: Name,
  quantity: string | number | undefined,
): { readonly [key in Name]?: number } {
  const bytes = quantity === undefined ? undefined : parseBytes(quantity);
  return (bytes === undefined ? {} : { [name]: bytes }) as { readonly [key in Name]?: number };
}
