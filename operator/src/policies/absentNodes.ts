/** Names the nodes that lack the file for a reason of their own, a few of each kind. PURE. */
import type { NodeProgress } from '../controllers/dataSide.ts';
import type { TargetNode } from './nodes.ts';

const MAX_NAMES = 5;

type Kind = 'cordoned' | 'not ready' | 'NoAgent';

/** Goes on with a sentence: empty when there is none. */
export function absentNodes(
  nodes: readonly TargetNode[],
  reports: ReadonlyMap<string, NodeProgress>,
): string {
  const names = new Map<Kind, string[]>();
  for (const node of nodes) {
    const kind = kindOf(node, reports.get(node.name));
    if (kind !== undefined) names.set(kind, [...(names.get(kind) ?? []), node.name]);
  }
  const kinds = (['cordoned', 'not ready'] as const).filter((kind) => names.has(kind));
  const unwaited = kinds.map((kind) => `${listed(names.get(kind)!)} (${kind})`).join(', ');
  const agentless = names.get('NoAgent');
  return [
    unwaited === '' ? '' : `; not waited for: ${unwaited}`,
    agentless === undefined ? '' : `; NoAgent: no agent runs on ${listed(agentless)}`,
  ].join('');
}

function kindOf(node: TargetNode, report: NodeProgress | undefined): Kind | undefined {
  if (report?.state === 'ready') return undefined;
  if (node.unschedulable) return 'cordoned';
  if (node.notReady === true) return 'not ready';
  const lacksAgent = report?.state === 'pending' && !report.connected;
  return lacksAgent ? 'NoAgent' : undefined;
}

function listed(names: readonly string[]): string {
  const more = names.length - MAX_NAMES;
  return names.slice(0, MAX_NAMES).join(', ') + (more > 0 ? ` and ${more} more` : '');
}
