/** How many relays each topology domain needs. */
import type { NodeProgress } from '../controllers/dataSide.ts';
import type { TargetNode } from './nodes.ts';

/** What one distribution wants of relays. */
export interface RelayDemand {
  readonly namespace: string;
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

/** What distributions want of the relays of a domain, before it is bounded. */
export interface RelayAsk extends RelayNeed {
  /** Whose distributions do, by name. */
  readonly namespaces: readonly string[];
}

/** What who runs the cluster lets all distributions together have. */
export interface RelayBounds {
  readonly maxRelays: number;
  readonly maxPerDomain: number;
  /** That a distribution may name; empty: any. */
  readonly topologyKeys: readonly string[];
}

/** `isReady` says which nodes wait for nothing, or for nothing that relays have. */
export function relayDemand(
  nodes: readonly TargetNode[],
  isReady: (name: string) => boolean,
  relays: Omit<RelayDemand, 'domains'>,
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
export function relayAsks(demands: Iterable<RelayDemand>): RelayAsk[] {
  const asks = new Map<string, RelayAsk>();
  for (const { namespace, topologyKey, nodesPerRelay, dedicatedTo, domains } of demands) {
    const own = { topologyKey, ...(dedicatedTo !== undefined && { dedicatedTo }) };
    for (const [domain, { nodes, waiting }] of domains) {
      if (waiting === 0) continue;
      const key = relaysKey({ ...own, domain });
      const { replicas = 1, namespaces = [] } = asks.get(key) ?? {};
      asks.set(key, {
        ...own,
        domain,
        replicas: Math.max(replicas, Math.ceil(nodes / nodesPerRelay)),
        namespaces: namespaces.includes(namespace) ? namespaces : [...namespaces, namespace].sort(),
      });
    }
  }
  return [...asks.values()];
}

/** Names the relays of a domain. */
export function relaysKey({
  topologyKey,
  domain,
  dedicatedTo = '',
}: Pick<RelayNeed, 'topologyKey' | 'domain' | 'dedicatedTo'>): string {
  return `${dedicatedTo}/${topologyKey}=${domain}`;
}

/**
 * What runs of it. Where the bound leaves less than is asked for, namespaces get a relay in turn, so
 * that one of them, with domains as small as nodes or relays of its own, leaves others theirs; and
 * each gets one in each domain before it gets a second one, first of those that are shared.
 */
export function relayNeeds(asks: readonly RelayAsk[], bounds: RelayBounds): RelayNeed[] {
  const { maxRelays, maxPerDomain } = bounds;
  const shares = asks
    .filter(({ topologyKey }) => isAllowedKey(topologyKey, bounds))
    .map(({ namespaces, ...need }) => {
      return { namespaces, need, most: Math.min(need.replicas, maxPerDomain), replicas: 0 };
    });
  const total = shares.reduce((sum, { most }) => sum + most, 0);
  if (total <= maxRelays) return shares.map(({ need, most }) => ({ ...need, replicas: most }));
  const order = new Map(shares.map((share) => [share, orderOf(share.need)]));
  shares.sort((a, b) => (order.get(a)! < order.get(b)! ? -1 : 1));
  const queues = new Map<string, (typeof shares)[number][]>();
  for (const share of shares) {
    for (const name of share.namespaces) {
      const queue = queues.get(name) ?? [];
      queues.set(name, queue);
      queue.push(share);
    }
  }
  let left = maxRelays;
  const turns = [...queues].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, queue]) => queue);
  for (let waiting = turns; waiting.length > 0 && left > 0; ) {
    for (const queue of waiting.slice(0, left)) {
      // What is shared may have got its relays in another's turn.
      let share = queue.shift();
      while (share !== undefined && share.replicas === share.most) share = queue.shift();
      if (share === undefined) continue;
      share.replicas += 1;
      left -= 1;
      queue.push(share);
    }
    waiting = waiting.filter((queue) => queue.length > 0);
  }
  return shares
    .filter(({ replicas }) => replicas > 0)
    .map(({ need, replicas }) => ({ ...need, replicas }));
}

export function isAllowedKey(
  topologyKey: string,
  { topologyKeys }: Pick<RelayBounds, 'topologyKeys'>,
): boolean {
  return topologyKeys.length === 0 || topologyKeys.includes(topologyKey);
}

/** Those that are shared first; else the same order for everybody. */
function orderOf({ dedicatedTo, topologyKey, domain }: RelayNeed): string {
  return JSON.stringify([dedicatedTo === undefined ? 0 : 1, topologyKey, domain, dedicatedTo]);
}

/**
 * Whether relays are of use to it now: one without an agent, or that has failed, may stay so, and
 * would keep all relays of its domain for as long.
 */
export function wantsBytes({ state, connected }: NodeProgress): boolean {
  return connected && state !== 'ready' && state !== 'failed';
}
