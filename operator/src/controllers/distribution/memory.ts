/** What the leader remembers of one Distribution between two reconciliations. */
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import type { Failure, SourceReason } from '../../policies/failures.ts';
import type { Failures } from '../../policies/retries.ts';
import type { DistributionProgress, EpochRecord } from '../dataSide.ts';
import { MirrorMemory } from './mirrorMemory.ts';
import { OwnWrites } from './ownWrites.ts';

type Source = Distribution['spec']['source'];
type Headers = Readonly<Record<string, string>>;

/** Of the object. */
interface Version {
  readonly resourceVersion: string;
  readonly status: DistributionStatus | undefined;
}

interface Moved {
  /** Of what was there when something moved last, and when that was. */
  readonly mark: string;
  readonly atMs: number;
  /** Whether bytes may move at all. */
  readonly isServed: boolean;
  /** Nodes that are waited for. */
  readonly open: number;
}

/** Status is written, and made for what is reported, at most so often for one Distribution. */
const STATUS_INTERVAL_MS = 1000;
/** A rotated Secret is seen after this. */
const HEADERS_FRESH_MS = 30_000;

export class Memory {
  /** Of the Distribution. */
  readonly owner: string;
  /** Names its data: of the epoch that it has adopted, else its own. */
  uid: string;
  record: EpochRecord | undefined;
  /** Of the record's epoch. */
  mirrors = new MirrorMemory();
  failure: Failure<SourceReason> | undefined;
  /** The failure is that they could not be read. */
  lacksCredentials = false;
  /** The origin is not asked before. */
  nextTryMs = 0;
  /** When it was asked what it has not answered yet. */
  askedMs = Number.NEGATIVE_INFINITY;
  removingSinceMs: number | undefined;
  /** What becomes of its files is in its grave: a heir's, or the graveyard's. */
  isBuried = false;
  readonly ownWrites = new OwnWrites();
  /** Of the record's epoch, as the status says. */
  failures: Failures = new Map();
  /** Of it too: nodes that lack something cannot get it. */
  isSourceGone = false;
  /** Whose events were told last, written or not. */
  told: DistributionStatus | undefined;
  #failures = 0;
  /** What `failure` and `nextTryMs` are about. */
  #triedSource: string | undefined;
  #statusMadeMs = Number.NEGATIVE_INFINITY;
  #statusAnsweredMs = Number.NEGATIVE_INFINITY;
  #moved: Moved = { mark: '', atMs: 0, isServed: false, open: 0 };
  #newest: Version | undefined;
  #headers: { secretName: string | undefined; headers: Headers; readMs: number } | undefined;

  constructor(owner: string, record: EpochRecord | undefined, nowMs: number) {
    this.owner = owner;
    this.uid = record?.uid ?? owner;
    this.record = record;
    this.#moved = { ...this.#moved, atMs: nowMs };
  }

  begin(record: EpochRecord, nowMs: number): void {
    this.uid = record.uid;
    if (record.epoch !== this.record?.epoch) {
      this.mirrors = new MirrorMemory();
      this.failures = new Map();
      this.isSourceGone = false;
    }
    this.record = record;
    this.forgetFailure();
    this.#moved = { ...this.#moved, mark: '', atMs: nowMs };
  }

  fail(
    source: Source,
    failure: Failure<SourceReason>,
    nextTryMs: (failures: number) => number,
  ): void {
    this.#failures += 1;
    this.failure = failure;
    this.lacksCredentials = false;
    this.askNotBefore(source, nextTryMs(this.#failures));
  }

  askNotBefore(source: Source, atMs: number): void {
    this.#triedSource = sourceKey(source);
    this.nextTryMs = atMs;
  }

  /** An edit of the source is tried at once. */
  forgetOldSource(source: Source): void {
    if (this.#triedSource === undefined || this.#triedSource === sourceKey(source)) return;
    this.#triedSource = undefined;
    this.forgetFailure();
    this.nextTryMs = 0;
  }

  forgetFailure(): void {
    this.failure = undefined;
    this.lacksCredentials = false;
    this.#failures = 0;
  }

  freshHeaders(secretName: string | undefined, nowMs: number): Headers | undefined {
    const known = this.#headers;
    const fresh = known !== undefined && nowMs - known.readMs < HEADERS_FRESH_MS;
    return fresh && known.secretName === secretName ? known.headers : undefined;
  }

  lastHeaders(secretName: string | undefined): Headers | undefined {
    return this.#headers?.secretName === secretName ? this.#headers?.headers : undefined;
  }

  keepHeaders(secretName: string | undefined, headers: Headers, readMs: number): void {
    this.#headers = { secretName, headers, readMs };
    // A Secret that was missing is there now: the origin is asked at once.
    if (!this.lacksCredentials) return;
    this.forgetFailure();
    this.nextTryMs = 0;
  }

  /**
   * How long nothing has moved: no byte received, no node in another state. It is counted from when
   * something may move: when it is served (again), and when more nodes are waited for than before.
   */
  idleForMs(
    progress: DistributionProgress | undefined,
    { isServed, open }: Pick<Moved, 'isServed' | 'open'>,
    nowMs: number,
  ): number {
    const mark = markOf(progress);
    const before = this.#moved;
    // Where nobody lacks anything there is nothing to wait for.
    const mayBegin = (isServed && !before.isServed) || open > before.open || open === 0;
    const isNews = mark !== before.mark || mayBegin;
    this.#moved = { mark, atMs: isNews ? nowMs : before.atMs, isServed, open };
    return nowMs - this.#moved.atMs;
  }

  /** In what time a report is worth a look: most of them change nothing in the status. */
  lookDueInMs(nowMs: number): number {
    return Math.max(0, this.#statusMadeMs + STATUS_INTERVAL_MS - nowMs);
  }

  /** The status was made, whether or not it is to be written. */
  looked(nowMs: number): void {
    this.#statusMadeMs = nowMs;
  }

  statusDueInMs(nowMs: number): number {
    return Math.max(0, this.#statusAnsweredMs + STATUS_INTERVAL_MS - nowMs);
  }

  wrote(version: Version, nowMs: number): void {
    this.#newest = version;
    this.#statusAnsweredMs = nowMs;
  }

  /**
   * It is gone, or somebody else has written. What fails otherwise has the queue's delay, which
   * would be forgotten here.
   */
  wroteInVain(nowMs: number): void {
    this.#statusAnsweredMs = nowMs;
  }

  /** Read anew: the copy that is watched may be behind. */
  saw({ metadata: { resourceVersion }, status }: Distribution): void {
    this.#newest = { resourceVersion, status };
  }

  /** The status as it is, for all that is known: somebody else may have written one, too. */
  newest({ metadata: { resourceVersion }, status }: Distribution): Version {
    const known = this.#newest;
    const isBehind = known !== undefined && !isNewer(resourceVersion, known.resourceVersion);
    return isBehind ? known : { resourceVersion, status };
  }
}

/**
 * Sums: ten thousand nodes are looked at each second. Nodes that wait and nodes that receive are one:
 * they take turns also where no byte comes.
 */
function markOf(progress: DistributionProgress | undefined): string {
  if (progress === undefined) return '';
  const states = { open: 0, ready: 0, failed: 0, removed: 0 };
  let verifiedBytes = 0;
  for (const node of progress.nodes) {
    const { state } = node;
    states[state === 'ready' || state === 'failed' || state === 'removed' ? state : 'open'] += 1;
    verifiedBytes += node.verifiedBytes;
  }
  return [progress.epoch, progress.originBytes, verifiedBytes, ...Object.values(states)].join(' ');
}

/** They are whole numbers that grow (KEP-5504). */
function isNewer(one: string, other: string): boolean {
  return BigInt(one) > BigInt(other);
}

/** Names what the origin is asked for, and with whose credentials. */
export function sourceKey({ url, digest, files, filesFrom, secretRef }: Source): string {
  return JSON.stringify([url, digest, files, filesFrom?.path, secretRef?.name]);
}
