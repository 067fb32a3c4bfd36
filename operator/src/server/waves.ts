/**
 * Which nodes of a distribution may transfer at once, where that is limited: waves that refill as
 * nodes finish. PURE.
 */
import type { NodeState } from '../controllers/dataSide.ts';

export interface WaveNode {
  readonly name: string;
  readonly state: NodeState;
  readonly verifiedBytes: number;
  /** It transfers, and nothing has come for long. */
  readonly isStill?: boolean;
  /** Its agent has a work stream open; `silent`: it had one a moment ago, and may go on alone. */
  readonly agent: 'connected' | 'silent' | 'none';
}

/**
 * The nodes that have a place, of those that are not ready: who has one keeps it, then who has
 * begun, then who waits, in the order given. What failed, or stands still, comes last: it has a
 * place only while nobody else wants it. A node without an agent needs none.
 */
export function placesOf(
  nodes: Iterable<WaveNode>,
  most: number,
  holding: ReadonlySet<string>,
): Set<string> {
  const ranks: WaveNode[][] = [[], [], [], [], []];
  for (const node of nodes) {
    const rank = rankOf(node, holding.has(node.name));
    if (rank !== undefined) ranks[rank]?.push(node);
  }
  const places = new Set<string>();
  for (const rank of ranks) {
    const room = most - places.size;
    // Whoever has most is done soonest, and gives its place to the next.
    if (rank.length > room) rank.sort((a, b) => b.verifiedBytes - a.verifiedBytes);
    for (const { name } of rank.slice(0, room)) places.add(name);
  }
  return places;
}

function rankOf({ state, agent, isStill }: WaveNode, holds: boolean): number | undefined {
  if (state === 'ready' || agent === 'none') return undefined;
  if (isStill === true) return 4;
  if (state === 'transferring' || state === 'verifying') return holds ? 0 : 2;
  if (agent === 'silent') return undefined;
  if (state === 'failed') return 4;
  return holds ? 1 : 3;
}
