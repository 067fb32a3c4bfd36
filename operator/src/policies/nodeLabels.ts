/**
 * Which labels tell on a node that it shows the files of a distribution.
 *
 * All labels under `dist.sluice.dev` are Sluice's. A node keeps the label of an earlier epoch until
 * it shows the newer one: it still has the earlier.
 */
import type { NodeProgress } from '../controllers/dataSide.ts';
import type { DistributionCondition } from './distributionConditions.ts';

/** Between the namespace and the name. */
export const DOMAIN = '.dist.sluice.dev/';

export function isDistributionLabel(key: string): boolean {
  return key.includes(DOMAIN);
}

/** What one distribution says of nodes. */
export interface LabelWish {
  readonly key: string;
  readonly epoch: string;
  /** Nodes that show the epoch. */
  readonly ready: ReadonlySet<string>;
  /** Nodes of which it is known that they do not; of other targets nobody has heard yet. */
  readonly unready: ReadonlySet<string>;
  readonly targets: ReadonlySet<string>;
}

/** `nodes`: of the targets, in the epoch that is delivered. */
export function labelWish(key: string, epoch: number, nodes: readonly NodeProgress[]): LabelWish {
  const named = (is: (node: NodeProgress) => boolean) =>
    new Set(nodes.filter(is).map(({ name }) => name));
  return {
    key,
    epoch: String(epoch),
    ready: named(({ state }) => state === 'ready'),
    // A new leader has not heard of every node: only what a node says itself takes its label away.
    unready: named(({ state, connected }) => connected && state !== 'ready' && state !== 'pending'),
    targets: named(() => true),
  };
}

/** What has to change of one label: its new value, null to remove it, undefined for nothing. */
export function labelChange(
  wish: LabelWish,
  node: string,
  value: string | undefined,
): string | null | undefined {
  if (wish.ready.has(node)) return value === wish.epoch ? undefined : wish.epoch;
  if (value === undefined) return undefined;
  const isGone = !wish.targets.has(node) || (wish.unready.has(node) && value === wish.epoch);
  return isGone ? null : undefined;
}

/** `isOrphan`: no distribution that exists has this key, or it wants no labels. */
export function labelChanges(
  node: string,
  labels: Readonly<Record<string, string>>,
  wishes: ReadonlyMap<string, LabelWish>,
  isOrphan: (key: string) => boolean,
): Record<string, string | null> {
  const changes: Record<string, string | null> = {};
  for (const wish of wishes.values()) {
    const change = labelChange(wish, node, labels[wish.key]);
    if (change !== undefined) changes[wish.key] = change;
  }
  for (const key of Object.keys(labels)) {
    if (isDistributionLabel(key) && !wishes.has(key) && isOrphan(key)) changes[key] = null;
  }
  return changes;
}

/** `open`: nodes whose label has yet to be written; undefined when the operator writes none. */
export function labelCondition(
  key: string,
  open: number | undefined,
): DistributionCondition<'NodesLabelled'> {
  const type = 'NodesLabelled';
  if (open === undefined) {
    const message =
      'spec.target.nodeLabel: this operator may not label nodes; set workloads.nodeLabels=true in its chart, or set the field to false';
    return { type, status: 'False', reason: 'NodeLabelsDisabled', message };
  }
  return open === 0
    ? { type, status: 'True', reason: 'NodesLabelled', message: `label '${key}'` }
    : { type, status: 'False', reason: 'NodesBeingLabelled', message: `label '${key}'` };
}
