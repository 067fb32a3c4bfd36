/**
 * Nodes that have failed and try again. Most fail again for the same reason before a byte has come:
 * to users such a node has failed throughout, or conditions and events would turn with each try. PURE.
 */
import type { NodeProgress } from '../controllers/dataSide.ts';

interface Failed {
  readonly error: NodeProgress['error'];
  readonly verifiedBytes: number;
  readonly seenAtMs: number;
}

/** Of one epoch, by node. */
export type Failures = ReadonlyMap<string, Failed>;

/** A try that fails no sooner waits for bytes, as any other node does. */
const TRY_MS = 60_000;

/** Answers the nodes as users see them, and what to give here the next time. */
export function withRetries(
  nodes: readonly NodeProgress[],
  before: Failures,
  nowMs: number,
): { readonly nodes: readonly NodeProgress[]; readonly failures: Failures } {
  const failures = new Map<string, Failed>();
  for (const node of nodes) {
    const { name, state, error, verifiedBytes } = node;
    const known = before.get(name);
    if (state === 'failed') failures.set(name, { error, verifiedBytes, seenAtMs: nowMs });
    else if (known !== undefined && isSameTry(node, known, nowMs)) failures.set(name, known);
  }
  if (failures.size === 0) return { nodes, failures };
  const seen = nodes.map((node): NodeProgress => {
    const failed = failures.get(node.name);
    return failed === undefined ? node : { ...node, state: 'failed', error: failed.error };
  });
  return { nodes: seen, failures };
}

/** Nothing has come of it yet. */
function isSameTry({ state, verifiedBytes }: NodeProgress, known: Failed, nowMs: number): boolean {
  if (state === 'ready' || state === 'removed') return false;
  return verifiedBytes <= known.verifiedBytes && nowMs - known.seenAtMs < TRY_MS;
}
