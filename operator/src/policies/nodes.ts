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

/** What a node is as a target, and what decides whether it is one. */
export interface Candidate {
  readonly labels: NodeFacts['labels'];
  readonly target: TargetNode;
}

/** By name. */
export function candidates(nodes: Iterable<NodeFacts>, topologyKey: string): Candidate[] {
  const result: Candidate[] = [];
  for (const { labels, ...node } of nodes) {
    const domain = labels[topologyKey] || DEFAULT_DOMAIN;
    result.push({ labels, target: { ...node, domain } });
  }
  return result.sort((a, b) => (a.target.name < b.target.name ? -1 : 1));
}

export function targetNodes(
  all: readonly Candidate[],
  { nodeSelector, affinity }: TargetSelection,
): TargetNode[] {
  const wanted = Object.entries(nodeSelector);
  const selected = all.filter(
    ({ labels }) =>
      wanted.every(([key, value]) => labels[key] === value) && matchesAffinity(labels, affinity),
  );
  return selected.map(({ target }) => target);
}

/** Nobody waits for it: it cannot run what needs the file. */
export function isAwaited({ unschedulable, notReady = false }: TargetNode): boolean {
  return !unschedulable && !notReady;
}
