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

type HoldReason = 'PathConflict' | 'InvalidSource' | OriginRefusal['reason'];

export type Verdict =
  /** Let go of it everywhere, then drop the finalizer. */
  | { readonly action: 'remove' }
  /** A person has to act; what runs of an epoch goes on only if `serve`. */
  | { readonly action: 'hold'; readonly problem: Failure<HoldReason> }
  /** Nothing is transferred; processes keep what they have. */
  | { readonly action: 'suspend'; readonly record: EpochRecord | undefined }
  /** Ask the origin; meanwhile serve the epoch before, when there is one. */
  | { readonly action: 'resolve'; readonly serve: EpochRecord | undefined }
  | { readonly action: 'serve'; readonly record: EpochRecord };

type Check = (input: DistributionInput) => Verdict | undefined;

const checks: readonly Check[] = [
  (input) => (input.deleting ? { action: 'remove' } : undefined),
  pathIsFree,
  sourceNamesFiles,
  originsAllowIt,
  (input) => (input.spec.suspend ? { action: 'suspend', record: input.record } : undefined),
  sourceIsKnown,
];

export function decideDistribution(input: DistributionInput): Verdict {
  for (const check of checks) {
    const verdict = check(input);
    if (verdict !== undefined) return verdict;
  }
  return { action: 'serve', record: input.record! };
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
  return { action: 'hold', problem: failure('PathConflict', message) };
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

function sourceNamesFiles({ spec: { source } }: DistributionInput): Verdict | undefined {
  const message = sourceProblem(source);
  if (message === undefined) return undefined;
  return { action: 'hold', problem: failure('InvalidSource', message) };
}

function originsAllowIt({ refusal }: DistributionInput): Verdict | undefined {
  return refusal && { action: 'hold', problem: failure(refusal.reason, refusal.message) };
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
  const { record, spec } = input;
  if (record === undefined) return { action: 'resolve', serve: undefined };
  const current = isMadeFrom(record, spec.source) && isProven(record);
  // What nodes have of it cannot be put right: the next epoch begins without those mirrors.
  const isOver = input.sourceChanged || input.wrongMirrors.length > 0;
  return current && !isOver ? undefined : { action: 'resolve', serve: record };
}
