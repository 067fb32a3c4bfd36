/** Nodes that failed or cannot be reached: which of them a person should see first, and what to do. */
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import type { NodeProgress } from '../controllers/dataSide.ts';
import { FAILURES, type ReadyFailure } from './failures.ts';

type FailedNode = NonNullable<DistributionStatus['failedNodes']>[number];

interface NodeRule {
  readonly kind: 'stall' | 'retry';
  /** For the specification page. */
  readonly when: string;
  readonly remedy: string;
  /** What the conditions say when all failed nodes have it; absent: NodesFailed. */
  readonly condition?: ReadyFailure;
}

export const NODE_FAILURES = {
  DigestMismatch: {
    kind: 'stall',
    when: 'All bytes are there, and their SHA-256 is not spec.source.digest.',
    remedy: FAILURES.DigestMismatch.remedy!,
    condition: 'DigestMismatch',
  },
  DiskFull: {
    kind: 'stall',
    when: 'The disk of the agent root is full.',
    remedy: FAILURES.DiskFull.remedy!,
    condition: 'DiskFull',
  },
  DiskPressure: {
    kind: 'stall',
    when: 'The file would leave less of the disk of the agent root free than agent.minFreePercent of the chart.',
    remedy:
      "free space on the disk of the agent root, take the node out of the selector, or lower agent.minFreePercent in the chart's values",
    condition: 'DiskFull',
  },
  NamespaceShareExceeded: {
    kind: 'stall',
    when: 'With the file the namespace would have more of the disk of the agent root than its share.',
    remedy: FAILURES.NamespaceShareExceeded.remedy!,
    condition: 'NamespaceShareExceeded',
  },
  DiskReadOnly: {
    kind: 'stall',
    when: 'The disk of the agent root is mounted read-only.',
    remedy: 'mount the disk of the agent root for writing',
  },
  DiskPermissionDenied: {
    kind: 'stall',
    when: 'Not even root may write to the agent root.',
    remedy: 'let root write to the agent root: a security module or a mount option forbids it',
  },
  DiskFailed: {
    kind: 'stall',
    when: 'The disk gave an input/output error.',
    remedy: 'replace the disk of the agent root',
  },
  PathConflict: {
    kind: 'stall',
    when: 'Something that is not of Sluice stands where the link to the version, or a folder to it, belongs.',
    remedy: 'move it away: what users put there is not replaced',
  },
  UnsafePath: {
    kind: 'stall',
    when: 'What the node was told would lie outside its folder.',
    remedy: 'bring operator and agents to the same version',
  },
  SwarmMismatch: {
    kind: 'stall',
    when: 'Operator and agent make different things of the same files.',
    remedy: 'bring operator and agents to the same version',
  },
  SourceChanged: {
    kind: 'stall',
    when: 'The epoch was complete when the node joined; the origin has another version since, and for 30 seconds no byte has come from another node.',
    remedy:
      'change spec.source.url (?v=2 behind a file does): all nodes get the version that the origin has now',
  },
  NoAgent: {
    kind: 'stall',
    when: 'No byte has moved for 30 seconds, and the agent of the node is not connected.',
    remedy: FAILURES.AgentsMissing.remedy!,
  },
} as const satisfies Readonly<Record<string, NodeRule>>;

const OTHER = { kind: 'retry', remedy: 'the node tries again by itself' } as const;

const MAX_FAILED_NODES = 10;
const MAX_MESSAGE_CHARACTERS = 1024;
const MAX_REASON_CHARACTERS = 64;

/**
 * The ten worst: what needs a person before what may heal, then who has least, then by name. A node
 * without an agent counts when nobody may take it for one that has just joined (`noAgent`).
 */
export function worstNodes(
  nodes: readonly NodeProgress[],
  noAgent: (name: string) => string | undefined,
): FailedNode[] {
  return nodes
    .flatMap((node) => {
      const error = errorOf(node, noAgent);
      if (error === undefined) return [];
      return [{ node, error, rule: ruleOf(error.reason) }];
    })
    .sort(
      (a, b) =>
        Number(a.rule.kind === 'retry') - Number(b.rule.kind === 'retry') ||
        a.node.verifiedBytes - b.node.verifiedBytes ||
        (a.node.name < b.node.name ? -1 : 1),
    )
    .slice(0, MAX_FAILED_NODES)
    .map(({ node, error, rule }) => ({
      name: node.name,
      reason: error.reason.slice(0, MAX_REASON_CHARACTERS),
      message: withRemedy(error.message, rule.remedy),
    }));
}

function ruleOf(reason: string): Pick<NodeRule, 'kind' | 'remedy' | 'condition'> {
  return Object.hasOwn(NODE_FAILURES, reason)
    ? NODE_FAILURES[reason as keyof typeof NODE_FAILURES]
    : OTHER;
}

function errorOf(
  { name, state, connected, error }: NodeProgress,
  noAgent: (name: string) => string | undefined,
): { readonly reason: string; readonly message: string } | undefined {
  if (state === 'failed') return error ?? { reason: 'Unknown', message: 'it gave no reason' };
  if (state === 'ready' || connected) return undefined;
  const message = noAgent(name);
  return message === undefined ? undefined : { reason: 'NoAgent', message };
}

/** The remedy is kept whole, however much the node says. */
function withRemedy(message: string, remedy: string): string {
  const room = MAX_MESSAGE_CHARACTERS - remedy.length - 2;
  return `${message.slice(0, room)}; ${remedy}`;
}

/** The reason of the conditions when all failed nodes have this one. */
export function conditionFor(reason: string): ReadyFailure {
  return ruleOf(reason).condition ?? 'NodesFailed';
}

/** What all of them have in common, when that is a reason of its own. */
export function commonReason(failed: readonly NodeProgress[]): ReadyFailure {
  const [first, ...others] = new Set(failed.map(({ error }) => conditionFor(error?.reason ?? '')));
  return first === undefined || others.length > 0 ? 'NodesFailed' : first;
}
