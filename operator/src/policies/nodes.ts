/** Which nodes a distribution is for, and in which topology domain they are. */

export interface NodeFacts {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Cordoned, for example while it is drained: served, but not waited for. */
  readonly unschedulable: boolean;
}

export interface TargetNode {
  readonly name: string;
  readonly domain: string;
  readonly unschedulable: boolean;
}

/** Domain of the nodes that lack the topology key. */
export const DEFAULT_DOMAIN = 'default';

export function targetNodes(
  nodes: Iterable<NodeFacts>,
  selector: Readonly<Record<string, string>>,
  topologyKey: string,
): TargetNode[] {
  const wanted = Object.entries(selector);
  const result: TargetNode[] = [];
  for (const { name, labels, unschedulable } of nodes) {
    if (!wanted.every(([key, value]) => labels[key] === value)) continue;
    result.push({ name, domain: labels[topologyKey] || DEFAULT_DOMAIN, unschedulable });
  }
  return result.sort((a, b) => (a.name < b.name ? -1 : 1));
}
