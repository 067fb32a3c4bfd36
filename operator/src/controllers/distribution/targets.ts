/**
 * The nodes that distributions are for. They are asked for at each look at each distribution, and
 * nodes seldom change: each selection is made once between two changes.
 */
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { isNotReady, type NodeObject } from '../../kube/objects.ts';
import type { Reflector } from '../../kube/reflector.ts';
import { isDistributionLabel } from '../../policies/nodeLabels.ts';
import { type Candidate, candidates, type TargetNode, targetNodes } from '../../policies/nodes.ts';

/** Of all selections: 10,000 nodes a thousand times are 80 MB. */
const MAX_KEPT = 10_000_000;

export class Targets {
  readonly #nodes: Pick<Reflector<NodeObject>, 'list'>;
  /** By topology key. */
  readonly #candidates = new Map<string, readonly Candidate[]>();
  readonly #selections = new Map<string, readonly TargetNode[]>();
  #kept = 0;

  constructor(nodes: Pick<Reflector<NodeObject>, 'list'>) {
    this.#nodes = nodes;
  }

  /** Labels of distributions count, too: a selector may name one. */
  nodeChanged(current: NodeObject | undefined, previous: NodeObject | undefined): void {
    if (factsText(current) === factsText(previous)) return;
    this.#candidates.clear();
    this.#forgetSelections();
  }

  of({ target, relays }: Distribution['spec']): readonly TargetNode[] {
    const { nodeSelector, affinity } = target;
    const key = JSON.stringify([relays.topologyKey, nodeSelector, affinity]);
    const known = this.#selections.get(key);
    if (known !== undefined) return known;
    const selected = targetNodes(this.#candidatesBy(relays.topologyKey), target);
    if (this.#kept + selected.length > MAX_KEPT) this.#forgetSelections();
    this.#kept += selected.length;
    this.#selections.set(key, selected);
    return selected;
  }

  #candidatesBy(topologyKey: string): readonly Candidate[] {
    const known = this.#candidates.get(topologyKey);
    if (known !== undefined) return known;
    const made = candidates([...this.#nodes.list()].map(factsOf), topologyKey);
    this.#candidates.set(topologyKey, made);
    return made;
  }

  #forgetSelections(): void {
    this.#selections.clear();
    this.#kept = 0;
  }
}

/**
 * Whether distributions are to be looked at. The kubelet changes other things every few seconds, and
 * labels that follow from progress are no news: each of them would wake every distribution.
 */
export function isNews(current: NodeObject | undefined, previous: NodeObject | undefined): boolean {
  return newsText(current) !== newsText(previous);
}

function newsText(node: NodeObject | undefined): string {
  if (node === undefined) return '';
  const { labels, ...facts } = factsOf(node);
  const others = Object.entries(labels).filter(([key]) => !isDistributionLabel(key));
  return JSON.stringify([facts, others]);
}

function factsOf(node: NodeObject) {
  const { name, uid, labels = {} } = node.metadata;
  const unschedulable = node.spec?.unschedulable === true;
  return { name, uid, labels, unschedulable, notReady: isNotReady(node) };
}

function factsText(node: NodeObject | undefined): string {
  return node === undefined ? '' : JSON.stringify(factsOf(node));
}
