/** Which nodes a distribution is for, and in which topology domain they are. */
import type { NodeAffinity } from '../api/v1alpha1/affinity.ts';
import { matchesAffinity } from './affinity.ts';

export interface NodeFacts {
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Cordoned, for example while it is drained. */
  readonly unschedulable: boolean;
  /** Its kubelet says so, or has said nothing for long. */
  readonly notReady: boolean;
}

export interface TargetNode {
  readonly name: string;
  readonly uid?: string;
  readonly domain: string;
  /** Nodes of which either is true are served, but not waited for. */
  readonly unschedulable: boolean;
  readonly notReady?: boolean;
}

export interface TargetSelection {
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly affinity?: NodeAffinity;
}

/** Domain of the nodes that lack the topology key, have it empty, or with this value. */
export const DEFAULT_DOMAIN = 'default';

export function targetNodes(
  nodes: Iterable<NodeFacts>,
  { nodeSelector, affinity }: TargetSelection,
  topologyKey: string,
): TargetNode[] {
  const wanted = Object.entries(nodeSelector);
  const result: TargetNode[] = [];
  for (const { labels, ...node } of nodes) {
    if (!wanted.every(([key, value]) => labels[key] === value)) continue;
    if (!matchesAffinity(labels, affinity)) continue;
    result.push({ ...node, domain: labels[topologyKey] || DEFAULT_DOMAIN });
  }
  return result.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Nobody waits for it: it cannot run what needs the file. */
export function isAwaited({ unschedulable, notReady = false }: TargetNode): boolean {
  return !unschedulable && !notReady;
}
