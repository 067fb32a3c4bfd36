/**
 * Folds a verdict, the reports of the nodes and the state of the relays into the status that
 * users and kubectl see.
 */
import { type NodeCount, nodesOf } from '../api/v1alpha1/counts.ts';
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import { formatBytes, formatSeconds } from '../api/v1alpha1/quantity.ts';
import type {
  DistributionProgress,
  EpochRecord,
  NodeProgress,
  Troubles,
} from '../controllers/dataSide.ts';
import { absentNodes } from './absentNodes.ts';
import { stampConditions } from './conditions.ts';
import type { Verdict } from './distribution.ts';
import type { DistributionCondition } from './distributionConditions.ts';
import { type Counts, numbersOf } from './distributionNumbers.ts';
import { type Failure, failure, type ReadyFailure, type SourceReason } from './failures.ts';
import { AGENTS_MISSING_MS, IDLE_MS, idleFailure } from './idleFailures.ts';
import { commonReason, worstNodes } from './nodeFailures.ts';
import { isAwaited, type TargetNode } from './nodes.ts';
import { type RelayState, relaysAvailable } from './relaysAvailable.ts';

export interface StatusInput {
  readonly generation: number;
  readonly previous: DistributionStatus | undefined;
  readonly verdict: Verdict;
  readonly record: EpochRecord | undefined;
  /** Whether the record was made from the source as it is in the spec now. */
  readonly recordIsCurrent: boolean;
  readonly failure: Failure<SourceReason> | undefined;
  readonly sourceChanged: boolean;
  readonly nodes: readonly TargetNode[];
  readonly progress: DistributionProgress | undefined;
  readonly relays: readonly RelayState[];
  /** Of what is kept for the pods that use the files. */
  readonly workloads: readonly DistributionCondition[];
  readonly mirrors?: DistributionCondition | undefined;
  /** Since a byte moved or a node changed its state. */
  readonly idleForMs: number;
  readonly progressDeadlineSeconds: number;
  /** How many nodes may lack the file while it is Ready. */
  readonly maxUnready: NodeCount;
  readonly troubles: Troubles;
  /** RFC 3339, UTC. */
  readonly now: string;
}

/** Nodes give each other what the origin does not; a new connection takes seconds. */
const SOURCE_GONE_MS = 30_000;
const MAX_RELAY_DOMAINS = 256;
/** Of a standstill that no dependency explains; nor does the error of one node why others wait. */
const WHERE_TO_LOOK =
  "; see the condition RelaysAvailable, status.failedNodes, `kubectl get origins`, and the logs of relays and agents in the operator's namespace";

export function distributionStatus(input: StatusInput): DistributionStatus {
  const reports = reportsOf(input);
  const counts = countNodes(input.nodes, reports);
  const values = conditionsOf(input, counts, reports);
  const conditions = stampConditions(
    values,
    input.previous?.conditions,
    input.generation,
    input.now,
  );
  const { previous, record } = input;
  // Where the database has forgotten it the next one counts on from here, whenever that begins.
  const epoch = record === undefined ? previous?.epoch : epochOf(record);
  return {
    observedGeneration: input.generation,
    conditions,
    nodes: counts,
    relays: input.relays
      .slice(0, MAX_RELAY_DOMAINS)
      .map(({ domain, desired, available }) => ({ domain, desired, available })),
    failedNodes: failedNodes(input, reports),
    ...(epoch && { epoch }),
    ...(record && {
      ...numbersOf(record, counts, reports, input.progress?.originBytes ?? 0),
      startTime: record.startedAt,
    }),
    ...completionTime(values, input),
  };
}

/** Whether users are told that this epoch is on the nodes. */
export function saysDelivered(status: DistributionStatus | undefined, epoch: number): boolean {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const isDelivered = ready?.status === 'True' && ready.reason === 'Delivered';
  return isDelivered && status?.epoch?.number === epoch;
}

/** Reports of the epoch that is served, of nodes that are targets. */
function reportsOf(input: StatusInput): ReadonlyMap<string, NodeProgress> {
  if (input.progress === undefined || input.progress.epoch !== input.record?.epoch)
    return new Map();
  const targets = new Set(input.nodes.map((node) => node.name));
  const isBarred = isSourceGone(input);
  return new Map(
    input.progress.nodes
      .filter((node) => targets.has(node.name))
      .map((node) => [node.name, isBarred ? barred(node) : node]),
  );
}

/** A completed epoch ends no more, its origin has another version, and no node gives what is missing. */
export function isSourceGone({
  verdict,
  record,
  progress,
  idleForMs,
}: Pick<StatusInput, 'verdict' | 'record' | 'progress' | 'idleForMs'>): boolean {
  return (
    verdict.action === 'serve' &&
    record?.completedAt !== undefined &&
    progress?.sourceChanged === true &&
    idleForMs >= SOURCE_GONE_MS
  );
}

/** It waits for what it cannot get. */
function barred(node: NodeProgress): NodeProgress {
  if (node.state === 'ready' || node.state === 'failed' || !node.connected) return node;
  const message = 'the origin has another version now, and no node gives the completed one';
  return { ...node, state: 'failed', error: { reason: 'SourceChanged', message } };
}

function countNodes(
  nodes: readonly TargetNode[],
  reports: ReadonlyMap<string, NodeProgress>,
): Counts {
  const counts = { desired: 0, pending: 0, transferring: 0, ready: 0, failed: 0, unreachable: 0 };
  for (const node of nodes) {
    const report = reports.get(node.name);
    const category = categoryOf(report);
    // A cordoned node, or one that is not ready, is served when it can be; nobody waits for it.
    if (!isAwaited(node) && category !== 'ready') continue;
    counts.desired += 1;
    counts[category] += 1;
  }
  return counts;
}

function categoryOf(report: NodeProgress | undefined): Exclude<keyof Counts, 'desired'> {
  if (report === undefined) return 'pending';
  if (report.state === 'ready' || report.state === 'failed') return report.state;
  if (!report.connected) return 'unreachable';
  return report.state === 'transferring' || report.state === 'verifying'
    ? 'transferring'
    : 'pending';
}

function conditionsOf(
  input: StatusInput,
  counts: Counts,
  reports: ReadonlyMap<string, NodeProgress>,
): DistributionCondition[] {
  const relays = relaysAvailable(input);
  return [
    ...readyOf(input, counts, reports),
    sourceResolved(input),
    ...(relays === undefined ? [] : [relays]),
    ...(input.mirrors === undefined ? [] : [input.mirrors]),
    ...input.workloads,
  ];
}

/** Ready, and the condition that goes with it while it is False. */
type Readiness = readonly DistributionCondition<'Ready' | 'Reconciling' | 'Stalled'>[];

function readyOf(
  input: StatusInput,
  counts: Counts,
  reports: ReadonlyMap<string, NodeProgress>,
): Readiness {
  const { verdict } = input;
  switch (verdict.action) {
    case 'remove':
      return goingOn('Terminating', 'processes let go of the file');
    case 'hold':
      return failing(verdict.problem);
    case 'resolve':
      return resolving(input);
    case 'suspend':
      if (input.recordIsCurrent && isEnough(counts, input)) {
        return complete(counts, describe(counts));
      }
      return suspended(counts);
    case 'serve':
      return serving(input, counts, reports);
  }
}

function resolving({ failure, sourceChanged }: StatusInput): Readiness {
  if (failure !== undefined) return failing(failure);
  return sourceChanged
    ? goingOn('SourceChanged', 'the file changed at the origin; asking it again')
    : goingOn('Resolving', 'asking the origin for length and validator');
}

function serving(
  input: StatusInput,
  counts: Counts,
  reports: ReadonlyMap<string, NodeProgress>,
): Readiness {
  // Whoever reads why it is, or is not, Ready reads of which nodes it is not the file's fault.
  const absent = absentNodes(input.nodes, reports);
  const nodes = describe(counts) + absent;
  if (isEnough(counts, input)) return complete(counts, nodes);
  // Whoever joins later and cannot have it is named, and changes nothing for who has it.
  if (wasReady(input) && counts.ready > 0) return delivered(nodes + lateNodes(counts, reports));
  if (counts.desired === 0 && !wasReady(input)) {
    return failing(failure('NodesUnavailable', allUnavailable(input) + absent));
  }
  const open = counts.pending + counts.transferring + counts.unreachable;
  if (counts.failed > 0 && open === 0) return failed(nodes, reports);
  if (input.idleForMs > input.progressDeadlineSeconds * 1000) {
    const idle = formatSeconds(input.progressDeadlineSeconds);
    const short = shortage(input, reports);
    const cause = short === undefined ? firstError(reports) + WHERE_TO_LOOK : `; ${short.message}`;
    const message = `no byte moved for ${idle}; ${nodes}${cause}`;
    return failing(failure('ProgressDeadlineExceeded', message));
  }
  // Nobody is waited for, so nobody has lost it.
  if (wasReady(input) && counts.desired === 0) return delivered(nodes + lateNodes(counts, reports));
  const short = shortage(input, reports);
  if (short !== undefined) {
    return failing({ ...short, message: `${nodes}; ${short.message}` });
  }
  return goingOn('Transferring', nodes + firstError(reports));
}

function lateNodes(counts: Counts, reports: ReadonlyMap<string, NodeProgress>): string {
  const open = counts.pending + counts.transferring + counts.unreachable;
  const failed = [...reports].filter(([, { state }]) => state === 'failed');
  const error = firstError(new Map(failed));
  return error + (open > 0 ? '; nodes that joined later are being served' : '');
}

/**
 * Of what is served only the credentials can have failed, or its Origin have refused: the last ones
 * may do, and peers too.
 */
function shortage(
  input: StatusInput,
  reports: ReadonlyMap<string, NodeProgress>,
): Failure<ReadyFailure> | undefined {
  const short = idleFailure(idlenessOf(input, reports));
  if (short !== undefined || input.idleForMs < IDLE_MS) return short;
  const refusal = input.verdict.action === 'serve' ? input.verdict.refusal : undefined;
  return refusal ?? input.failure;
}

function idlenessOf(
  { idleForMs, troubles, progress, relays }: StatusInput,
  reports: ReadonlyMap<string, NodeProgress>,
) {
  return {
    idleForMs,
    troubles,
    pull: progress?.pull,
    domainsWithoutRelay: relays
      .filter((relay) => relay.desired > 0 && relay.available === 0)
      .map(({ domain }) => domain),
    open: [...reports.values()].filter(({ state }) => state !== 'ready' && state !== 'failed'),
  };
}

/** Without their names, which follow. */
function allUnavailable({ nodes }: StatusInput): string {
  return nodes.length === 1
    ? 'the one node that matches is cordoned or not ready'
    : `each of the ${nodes.length} nodes that match is cordoned or not ready`;
}

function isEnough(counts: Counts, { maxUnready, nodes }: StatusInput): boolean {
  // Nobody is waited for, and nobody has it.
  if (counts.desired === 0 && nodes.length > 0) return false;
  // However many may lack it: what nobody has is not delivered.
  if (counts.desired > 0 && counts.ready === 0) return false;
  return counts.desired - counts.ready <= nodesOf(maxUnready, counts.desired, 'down');
}

function complete(counts: Counts, nodes: string): Readiness {
  if (counts.desired > 0) return delivered(nodes);
  const message =
    'no node matches spec.target; label nodes, or correct the selector: they are served when they match';
  return [{ type: 'Ready', status: 'True', reason: 'NoNodesMatch', message }];
}

function delivered(message: string): Readiness {
  return [{ type: 'Ready', status: 'True', reason: 'Delivered', message }];
}

function suspended(counts: Counts): Readiness {
  const message = `spec.suspend is true; ${describe(counts)}`;
  return [{ type: 'Ready', status: 'False', reason: 'Suspended', message }];
}

function goingOn(
  reason: DistributionCondition<'Reconciling'>['reason'],
  message: string,
): Readiness {
  return [
    { type: 'Ready', status: 'False', reason, message },
    { type: 'Reconciling', status: 'True', reason, message },
  ];
}

function failed(nodes: string, reports: ReadonlyMap<string, NodeProgress>): Readiness {
  const errors = [...reports.values()].filter((node) => node.state === 'failed');
  return failing(failure(commonReason(errors), nodes + firstError(reports)));
}

function failing({ kind, reason, message }: Failure<ReadyFailure>): Readiness {
  if (kind !== 'stall') return goingOn(reason, message);
  return [
    { type: 'Ready', status: 'False', reason, message },
    { type: 'Stalled', status: 'True', reason, message },
  ];
}

/** Once reached it stays for this generation and epoch, however many nodes join later. */
function wasReady({ previous, generation, record }: StatusInput): boolean {
  const before = previous?.conditions?.find((condition) => condition.type === 'Ready');
  return (
    before?.status === 'True' &&
    before.reason === 'Delivered' &&
    before.observedGeneration === generation &&
    previous?.epoch?.number === record?.epoch
  );
}

function sourceResolved(input: StatusInput): DistributionCondition<'SourceResolved'> {
  const { record, failure, verdict } = input;
  const type = 'SourceResolved';
  if (failure !== undefined) {
    return { type, status: 'False', reason: failure.reason, message: failure.message };
  }
  if (record !== undefined && input.recordIsCurrent && !input.sourceChanged) {
    const message = `${formatBytes(record.source.sizeBytes)}, ${versionOf(record)}`;
    return { type, status: 'True', reason: 'Resolved', message };
  }
  const unasked = verdict.action === 'hold' || verdict.action === 'suspend';
  return {
    type,
    status: 'Unknown',
    reason: input.sourceChanged ? 'SourceChanged' : 'Resolving',
    message: unasked ? 'the origin was not asked yet' : 'asking the origin',
  };
}

function describe({ desired, ready, failed, unreachable }: Counts): string {
  const parts = [`${ready} of ${desired} nodes ready`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (unreachable > 0) parts.push(`${unreachable} unreachable`);
  return parts.join(', ');
}

function firstError(reports: ReadonlyMap<string, NodeProgress>): string {
  const first = [...reports.values()].find((node) => node.error !== undefined);
  return first === undefined
    ? ''
    : `; ${first.name}: ${first.error!.reason}: ${first.error!.message}`;
}

function failedNodes(
  { idleForMs, troubles }: StatusInput,
  reports: ReadonlyMap<string, NodeProgress>,
): NonNullable<DistributionStatus['failedNodes']> {
  const isMissing = idleForMs >= AGENTS_MISSING_MS;
  return worstNodes([...reports.values()], (name) =>
    isMissing ? (troubles.agentImage(name) ?? 'its agent is not connected') : undefined,
  );
}

function epochOf(record: EpochRecord): NonNullable<DistributionStatus['epoch']> {
  const validator = validatorOf(record);
  return {
    number: record.epoch,
    sizeBytes: record.source.sizeBytes,
    ...(validator !== undefined && { validator }),
    pieceLengthBytes: record.pieceLengthBytes,
    pieces: record.pieceCount,
  };
}

function validatorOf(record: EpochRecord): string | undefined {
  return record.source.validator.etag ?? record.source.validator.lastModified;
}

/** The files of a set have validators of their own. */
function versionOf(record: EpochRecord): string {
  const count = record.files.length;
  if (count !== 1) return `${count} files`;
  return validatorOf(record) ?? 'no validator';
}

function completionTime(
  values: readonly DistributionCondition[],
  { previous, now }: StatusInput,
): Pick<DistributionStatus, 'completionTime'> {
  const ready = values.find((value) => value.type === 'Ready')!;
  if (ready.status !== 'True') return {};
  const before = previous?.conditions?.find((condition) => condition.type === 'Ready');
  const kept = before?.status === 'True' ? previous?.completionTime : undefined;
  return { completionTime: kept ?? now };
}

/** Equal but for times that only say when it was written. */
export function sameStatus(a: object | undefined, b: object): boolean {
  return a !== undefined && canonical(a) === canonical(b);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
