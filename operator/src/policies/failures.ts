/**
 * Every failure of a Distribution, and what follows from it: which condition says so, what the
 * user reads, and when it is tried again. Nothing else in the operator decides that.
 *
 * stall: nothing happens until a person acts (it is tried again all the same, slowly).
 * wait: something that it depends on is not there now, and comes back by itself.
 * retry: it may pass by itself; tried again with growing delay.
 */
import type { DistributionReason } from '../api/v1alpha1/conditions.ts';

export type FailureKind = 'stall' | 'wait' | 'retry';

/** Reasons that say how far it is, and not that something failed. */
type ProgressReason =
  | 'Delivered'
  | 'NoNodesMatch'
  | 'Transferring'
  | 'Suspended'
  | 'Terminating'
  | 'Resolving'
  | 'Resolved'
  | 'RelaysReady'
  | 'RelaysStarting'
  | 'RelaysNotNeeded';

/** Of mirrors: what one does not give comes from the others, or the source. */
type MirrorReason = 'MirrorsReady' | 'MirrorUnavailable' | 'MirrorDropped';

/** Of the conditions about pods that use the files: these keep no node from having them. */
type WorkloadReason =
  | 'VolumeBound'
  | 'VolumePending'
  | 'VolumeOutdated'
  | 'ClaimTerminating'
  | 'ClaimConflict'
  | 'ClaimRefused'
  | 'VolumesDisabled'
  | 'NodesLabelled'
  | 'NodesBeingLabelled'
  | 'NodeLabelsDisabled';

export type FailureReason = Exclude<
  DistributionReason,
  ProgressReason | MirrorReason | WorkloadReason
>;

/** That a domain has no relay keeps no node from having the file. */
const RELAY_FAILURES = [
  'RelaysMissing',
  'RelaysFailed',
  'RelaysLimited',
] as const satisfies FailureReason[];
type RelayFailure = (typeof RELAY_FAILURES)[number];

/** What keeps nodes from having the file. */
export type ReadyFailure = Exclude<FailureReason, RelayFailure>;

export interface Failure<Reason extends FailureReason = FailureReason> {
  readonly reason: Reason;
  readonly kind: FailureKind;
  /** What happened, and after the last semicolon what to do. */
  readonly message: string;
  /** Milliseconds since the Unix epoch: before then it cannot pass, unless somebody acts. */
  readonly untilMs?: number;
}

interface FailureRule {
  readonly kind: FailureKind;
  /** Undefined where each message names its own. */
  readonly remedy?: string;
}

/** A new reason has to be placed here, or among those that are no failures. */
export const FAILURES: Readonly<Record<FailureReason, FailureRule>> = {
  PathConflict: { kind: 'stall' },
  InvalidSource: { kind: 'stall' },
  SourceNotFound: {
    kind: 'stall',
    remedy: 'put the file there, or correct spec.source.url',
  },
  SourceForbidden: {
    kind: 'stall',
    remedy:
      'put credentials that the origin accepts into a Secret and name it in spec.source.secretRef',
  },
  SourceRefused: { kind: 'stall' },
  SourceTooLarge: {
    kind: 'stall',
    remedy: 'make parts of it, and a Distribution of each',
  },
  SourceAddressForbidden: { kind: 'stall' },
  NamespaceNotAllowed: { kind: 'stall' },
  SourceSpansOrigins: { kind: 'stall' },
  OriginRequired: { kind: 'stall', remedy: 'create an Origin whose spec.hosts covers this host' },
  SecretNotFound: { kind: 'stall' },
  SecretInvalid: { kind: 'stall' },
  DigestMismatch: {
    kind: 'stall',
    // Who has all bytes asks the origin for none: a right file there is not seen by itself.
    remedy:
      'correct the digest in spec.source, or put the right file at the origin, then change spec.source.url (?v=2 behind a file does) or delete the Distribution and apply it again',
  },
  DiskFull: {
    kind: 'stall',
    remedy: 'free space on the disk of the agent root, or take the node out of the selector',
  },
  NamespaceShareExceeded: {
    kind: 'stall',
    remedy:
      "delete Distributions of the namespace, lower their spec.target.keepVersions, or raise agent.namespaceShares in the chart's values",
  },
  NodesFailed: { kind: 'stall', remedy: 'see status.failedNodes' },
  ImageNotPullable: {
    kind: 'stall',
    remedy: "correct the image or imagePullSecrets in the chart's values",
  },
  ProgressDeadlineExceeded: { kind: 'stall' },
  SourceUnavailable: { kind: 'retry' },
  SourceChanged: { kind: 'retry' },
  OriginBusy: { kind: 'wait', remedy: 'wait, or raise spec.limits of its Origin' },
  QuotaExhausted: { kind: 'wait', remedy: 'wait, or raise spec.limits.maxTraffic of its Origin' },
  DatabaseUnavailable: {
    kind: 'wait',
    remedy: 'look at the pods of MongoDB: what runs goes on, nothing new is taken from origins',
  },
  NodesUnavailable: {
    kind: 'wait',
    remedy: 'uncordon one of them, or see why they are not ready: each is served when it can be',
  },
  AgentsMissing: {
    kind: 'wait',
    remedy: "run `kubectl describe daemonset sluice-agent` in the operator's namespace",
  },
  RelaysMissing: {
    kind: 'wait',
    remedy: "look at the relay pods in the operator's namespace",
  },
  RelaysFailed: {
    kind: 'retry',
    remedy: 'free space on the disks of their nodes, or give them more by relay.cache of the chart',
  },
  RelaysLimited: { kind: 'stall', remedy: 'change spec.relays, or ask who runs Sluice' },
};

export function failure<Reason extends FailureReason>(
  reason: Reason,
  message: string,
  untilMs?: number,
): Failure<Reason> {
  const { kind, remedy } = FAILURES[reason];
  const text = remedy === undefined ? message : `${message}; ${remedy}`;
  return { reason, kind, message: text, ...(untilMs !== undefined && { untilMs }) };
}

export function failuresOf(kind: FailureKind): FailureReason[] {
  const reasons = Object.keys(FAILURES) as FailureReason[];
  return reasons.filter((reason) => FAILURES[reason].kind === kind);
}

/** Those that Ready tells. */
export function readyFailuresOf(kind: FailureKind): ReadyFailure[] {
  return failuresOf(kind).filter(isReadyFailure);
}

function isReadyFailure(reason: FailureReason): reason is ReadyFailure {
  return !RELAY_FAILURES.some((other) => other === reason);
}

export function isFailure(reason: string): reason is FailureReason {
  return Object.hasOwn(FAILURES, reason);
}

/** Codes of errors of resolveSource, of reading the Secret, and of the database. */
export type SourceErrorCode =
  | 'HttpStatus'
  | 'Unreachable'
  | 'Timeout'
  | 'BadAnswer'
  | 'Redirect'
  | 'AddressForbidden'
  | 'OriginRequired'
  | 'OriginBusy'
  | 'QuotaExhausted'
  /** More bytes, or pieces, than one epoch can have. */
  | 'TooLarge'
  /** Files of the set are under several Origins. */
  | 'SpansOrigins'
  /** What a list names, or the size that the spec names, cannot be delivered. */
  | 'InvalidFiles'
  | 'SecretNotFound'
  | 'SecretInvalid'
  | 'DatabaseUnavailable';

export interface SourceErrorLike {
  readonly code?: unknown;
  readonly message: string;
  readonly httpStatus?: unknown;
  readonly untilMs?: unknown;
}

/** Why the source in the spec cannot be resolved, or its credentials not be read. */
const SOURCE_REASONS = {
  HttpStatus: 'SourceRefused',
  Unreachable: 'SourceUnavailable',
  Timeout: 'SourceUnavailable',
  BadAnswer: 'SourceRefused',
  Redirect: 'SourceRefused',
  AddressForbidden: 'SourceAddressForbidden',
  OriginRequired: 'OriginRequired',
  OriginBusy: 'OriginBusy',
  QuotaExhausted: 'QuotaExhausted',
  TooLarge: 'SourceTooLarge',
  SpansOrigins: 'SourceSpansOrigins',
  InvalidFiles: 'InvalidSource',
  SecretNotFound: 'SecretNotFound',
  SecretInvalid: 'SecretInvalid',
  DatabaseUnavailable: 'DatabaseUnavailable',
} as const satisfies Readonly<Record<SourceErrorCode, FailureReason>>;

const STATUS_REASONS = [
  'SourceNotFound',
  'SourceForbidden',
  'SourceUnavailable',
  'SourceRefused',
] as const satisfies readonly FailureReason[];

export type SourceReason =
  | (typeof SOURCE_REASONS)[SourceErrorCode]
  | (typeof STATUS_REASONS)[number];
export const SOURCE_FAILURES: readonly SourceReason[] = [
  ...new Set([...STATUS_REASONS, ...Object.values(SOURCE_REASONS)]),
];

/** An error without a code that is known here counts as passing. */
export function classifyError({
  code,
  message,
  httpStatus,
  untilMs,
}: SourceErrorLike): Failure<SourceReason> {
  const reason: SourceReason =
    typeof httpStatus === 'number'
      ? reasonOfStatus(httpStatus)
      : (SOURCE_REASONS[code as SourceErrorCode] ?? 'SourceUnavailable');
  return failure(reason, message, typeof untilMs === 'number' ? untilMs : undefined);
}

function reasonOfStatus(status: number): (typeof STATUS_REASONS)[number] {
  if (status === 404 || status === 410) return 'SourceNotFound';
  if (status === 401 || status === 403) return 'SourceForbidden';
  if (status >= 500 || status === 408 || status === 429) return 'SourceUnavailable';
  return 'SourceRefused';
}

const BACKOFF: Readonly<Record<FailureKind, { minMs: number; maxMs: number }>> = {
  stall: { minMs: 2_000, maxMs: 60_000 },
  retry: { minMs: 1_000, maxMs: 30_000 },
  wait: { minMs: 1_000, maxMs: 5_000 },
};
/** A limit may be raised at any time, so its end is not slept through. */
const LONGEST_WAIT_MS = 30_000;

/** `failures` counts from 1; `random` in [0, 1) spreads what failed together. */
export function requeueMs(
  { kind, untilMs }: Pick<Failure, 'kind' | 'untilMs'>,
  failures: number,
  random: number,
  wallClockMs: number,
): number {
  const { minMs, maxMs } = BACKOFF[kind];
  const full = Math.min(maxMs, minMs * 2 ** Math.min(failures - 1, 20));
  const backoffMs = full * (0.75 + random / 4);
  const passesInMs = untilMs === undefined ? 0 : untilMs - wallClockMs;
  return Math.max(backoffMs, Math.min(LONGEST_WAIT_MS, passesInMs));
}
