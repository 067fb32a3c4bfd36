/**
 * What a distribution needs next. An ordered chain of checks over what was gathered; the first
 * that objects decides. No I/O, no clock: the same input gives the same verdict.
 */
import type { DistributionSpec } from '../api/v1alpha1/distribution.ts';
import type { EpochRecord, OriginRefusal } from '../controllers/dataSide.ts';
import { type Failure, failure, type SourceReason } from './failures.ts';
import { isMadeFrom, namedFiles, setProblem } from './fileSet.ts';
import { isProven } from './graves.ts';
import type { TargetNode } from './nodes.ts';
import { fileNameOf } from './source.ts';

/** Another distribution of the same namespace, whose path may meet. */
export interface Neighbour {
  readonly uid: string;
  readonly name: string;
  readonly path: string;
  readonly createdAt: string;
}

export interface DistributionInput {
  readonly uid: string;
  readonly name: string;
  readonly createdAt: string;
  readonly deleting: boolean;
  readonly spec: DistributionSpec;
  readonly neighbours: readonly Neighbour[];
  readonly record: EpochRecord | undefined;
  /** A puller found another version at the origin than the record's, while nodes still wait. */
  readonly sourceChanged: boolean;
  /** URLs of mirrors that may have given bytes without the digest. */
  readonly wrongMirrors: readonly string[];
  /** Why the last try to resolve the source as it is in the spec failed. */
  readonly failure: Failure<SourceReason> | undefined;
  readonly nodes: readonly TargetNode[];
  /** Why the Origins do not let it take anything. */
  readonly refusal: OriginRefusal | undefined;
}

type RefusalReason = OriginRefusal['reason'];
type HoldReason = 'PathConflict' | 'InvalidSource' | RefusalReason;

export type Verdict =
  /** Let go of it everywhere, then drop the finalizer. */
  | { readonly action: 'remove' }
  /** The origin cannot be asked until a person acts; meanwhile serve the epoch before, if `serve`. */
  | {
      readonly action: 'hold';
      readonly problem: Failure<HoldReason>;
      readonly serve: EpochRecord | undefined;
    }
  /** Nothing is transferred; processes keep what they have. */
  | { readonly action: 'suspend'; readonly record: EpochRecord | undefined }
  /** Ask the origin; meanwhile serve the epoch before, when there is one. */
  | { readonly action: 'resolve'; readonly serve: EpochRecord | undefined }
  /** With `refusal` nothing comes from the origin: nodes give each other what they have. */
  | {
      readonly action: 'serve';
      readonly record: EpochRecord;
      readonly refusal?: Failure<RefusalReason>;
    };

type Check = (input: DistributionInput) => Verdict | undefined;

const checks: readonly Check[] = [
  (input) => (input.deleting ? { action: 'remove' } : undefined),
  pathIsFree,
  // Whatever is wrong with the source: transfers that are to stop do.
  (input) => (input.spec.suspend ? { action: 'suspend', record: input.record } : undefined),
  sourceNamesFiles,
  sourceIsKnown,
];

export function decideDistribution(input: DistributionInput): Verdict {
  for (const check of checks) {
    const verdict = check(input);
    if (verdict !== undefined) return verdict;
  }
  const refusal = refused(input);
  return { action: 'serve', record: input.record!, ...(refusal && { refusal }) };
}

/** False: another one has it, and what is there of it is not this one's to take over, or to offer. */
export function hasItsPath(verdict: Verdict): boolean {
  return verdict.action !== 'hold' || verdict.problem.reason !== 'PathConflict';
}

/** The older one keeps the path; of two of the same second, the one with the smaller uid. */
function pathIsFree(input: DistributionInput): Verdict | undefined {
  const { path } = input.spec.target;
  const other = input.neighbours.find(
    (neighbour) =>
      neighbour.uid !== input.uid && nests(neighbour.path, path) && isOlder(neighbour, input),
  );
  if (other === undefined) return undefined;
  const relation =
    other.path === path ? 'is' : path.startsWith(other.path) ? 'lies in' : 'lies around';
  const message = `spec.target.path: '${path}' ${relation} the path${other.path === path ? '' : ` '${other.path}'`} of the older Distribution '${other.name}'; delete this one and apply it with another path`;
  // What it may have begun before the older one was seen stops when it is to, and else stays.
  const serve = input.spec.suspend ? input.record : undefined;
  return { action: 'hold', problem: failure('PathConflict', message), serve };
}

function nests(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}

function isOlder(
  a: Pick<Neighbour, 'createdAt' | 'uid'>,
  b: Pick<Neighbour, 'createdAt' | 'uid'>,
): boolean {
  return a.createdAt === b.createdAt ? a.uid < b.uid : a.createdAt < b.createdAt;
}

function sourceNamesFiles({ spec, record }: DistributionInput): Verdict | undefined {
  const message = sourceProblem(spec.source);
  if (message === undefined) return undefined;
  return { action: 'hold', problem: failure('InvalidSource', message), serve: record };
}

function refused({ refusal }: DistributionInput): Failure<RefusalReason> | undefined {
  return refusal && failure(refusal.reason, refusal.message);
}

function sourceProblem(source: DistributionSpec['source']): string | undefined {
  const url = URL.parse(source.url);
  if (url === null || url.port === '0') {
    return `spec.source.url: '${source.url}' has a host or port that cannot be; write https://HOST/FOLDER/FILE, or https://HOST:PORT/FOLDER/FILE with a port from 1 to 65535`;
  }
  const named = namedFiles(source);
  if (named === undefined) {
    if (fileNameOf(source.url) !== undefined) return undefined;
    return `spec.source.url: '${source.url}' names no file; end it with the file's name`;
  }
  if (named.files !== undefined) {
    return setProblem(
      named.files.map(({ path }) => path),
      'spec.source.files',
    );
  }
  return setProblem([named.filesFrom ?? ''], 'spec.source.filesFrom.path');
}

function sourceIsKnown(input: DistributionInput): Verdict | undefined {
  if (!needsSource(input)) return undefined;
  const { record: serve } = input;
  const problem = refused(input);
  return problem ? { action: 'hold', problem, serve } : { action: 'resolve', serve };
}

/** Whether there is anything to ask the origin. */
export function needsSource(input: DistributionInput): boolean {
  const { record, spec } = input;
  if (record === undefined || !isMadeFrom(record, spec.source) || !isProven(record)) return true;
  // What nodes have of it cannot be put right: the next epoch begins without those mirrors.
  return input.sourceChanged || input.wrongMirrors.length > 0;
}
