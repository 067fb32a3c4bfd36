/** How many relays each topology domain needs. */
import type { TargetNode } from './nodes.ts';

/** What one distribution wants of relays. */
export interface RelayDemand {
  readonly topologyKey: string;
  readonly nodesPerRelay: number;
  /** The uid of the distribution, where relays are to serve no other. */
  readonly dedicatedTo?: string;
  /** Target nodes per domain. */
  readonly domains: ReadonlyMap<string, { readonly nodes: number; readonly waiting: number }>;
}

export interface RelayNeed {
  readonly topologyKey: string;
  readonly domain: string;
  /** The uid of the only distribution that they serve; absent: they are shared. */
  readonly dedicatedTo?: string;
  readonly replicas: number;
}

/** `isReady` says which nodes wait for nothing any more. */
export function relayDemand(
  nodes: readonly TargetNode[],
  isReady: (name: string) => boolean,
  relays: Pick<RelayDemand, 'topologyKey' | 'nodesPerRelay' | 'dedicatedTo'>,
): RelayDemand {
  const domains = new Map<string, { nodes: number; waiting: number }>();
  for (const { name, domain } of nodes) {
    const count = domains.get(domain) ?? { nodes: 0, waiting: 0 };
    domains.set(domain, {
      nodes: count.nodes + 1,
      waiting: count.waiting + (isReady(name) ? 0 : 1),
    });
  }
  return { ...relays, domains };
}

/** A domain in which any distribution's node waits has relays, as many as the largest asks for. */
export function relayNeeds(demands: Iterable<RelayDemand>): RelayNeed[] {
  const needs = new Map<string, RelayNeed>();
  for (const { topologyKey, nodesPerRelay, dedicatedTo, domains } of demands) {
    for (const [domain, { nodes, waiting }] of domains) {
      if (waiting === 0) continue;
      const key = `${dedicatedTo ?? ''}/${topologyKey}=${domain}`;
      const replicas = Math.max(needs.get(key)?.replicas ?? 1, Math.ceil(nodes / nodesPerRelay));
      needs.set(key, {
        topologyKey,
        domain,
        ...(dedicatedTo !== undefined && { dedicatedTo }),
        replicas,
      });
    }
  }
  return [...needs.values()];
}
