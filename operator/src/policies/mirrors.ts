/** Mirrors of a source: which may be used, with which credentials, and what is said of them. */
import type {
  DistributionProgress,
  EpochFile,
  EpochMirror,
  EpochRecord,
  PlanMirror,
  PullFailure,
  ResolvedSource,
} from '../controllers/dataSide.ts';
import type { DistributionCondition } from './distributionConditions.ts';
import { listed } from './idleFailures.ts';

type Headers = Readonly<Record<string, string>>;

/** Those of the record that the spec names still, in the spec's order. */
export function planMirrors(
  urls: readonly string[],
  { url, source, mirrors = [] }: EpochRecord,
  headers: Headers,
): PlanMirror[] {
  // A stream from the first byte on is one holder's: there is nothing to share out.
  if (!source.ranges) return [];
  return urls.flatMap((wanted) => {
    const mirror = mirrors.find((each) => each.url === wanted);
    return mirror === undefined
      ? []
      : [{ ...mirror, headers: headersFor(mirror.url, url, headers) }];
  });
}

/** A Secret is for the server that spec.source.url names, and for no other. */
export function headersFor(mirror: string, source: string, headers: Headers): Headers {
  return new URL(mirror).origin === new URL(source).origin ? headers : {};
}

/** What is left of the record when the spec names these. */
export function keptMirrors(
  urls: readonly string[],
  { mirrors = [], droppedMirrors = [] }: Pick<EpochRecord, 'mirrors' | 'droppedMirrors'>,
): Required<Pick<EpochRecord, 'mirrors' | 'droppedMirrors'>> {
  return {
    mirrors: mirrors.filter(({ url }) => urls.includes(url)),
    // Who takes one out and names it again means it.
    droppedMirrors: droppedMirrors.filter((url) => urls.includes(url)),
  };
}

/** Why what a mirror says of its files does not do; undefined: it does. */
export function mirrorProblem(
  url: string,
  { files }: Pick<EpochRecord, 'files'>,
  found: ResolvedSource,
): string | undefined {
  const name = `spec.source.mirrors: '${shown(url)}'`;
  if (!found.ranges) return `${name} does not honour byte ranges; remove it`;
  const sizes = new Map(filesOf(files, found).map(({ path, sizeBytes }) => [path, sizeBytes]));
  const other = files.find(({ path, sizeBytes }) => sizes.get(path) !== sizeBytes);
  if (other === undefined) return undefined;
  const { path, sizeBytes } = other;
  return `${name} has ${sizes.get(path) ?? 'no'} bytes of '${path}', and spec.source.url has ${sizeBytes}; put the same file there, or remove the mirror`;
}

/** A single file is called as at the source, whatever the mirror calls it. */
export function filesOf(files: readonly EpochFile[], found: ResolvedSource): EpochFile[] {
  if (found.files !== undefined) return [...found.files];
  const { sizeBytes, validator } = found;
  return files.slice(0, 1).map(({ path }) => ({ path, sizeBytes, validator }));
}

/**
 * URLs of mirrors that are to be dropped: what nodes got with their help has not the digest, or is
 * not what the source gives. Which of several it was nobody can tell.
 */
export function wrongMirrors(progress: DistributionProgress | undefined): readonly string[] {
  const { suspectMirrors = [], isDisputed = false, nodes = [] } = progress ?? {};
  if (suspectMirrors.length === 0) return [];
  const isWrong = nodes.some(
    ({ state, error }) => state === 'failed' && error?.reason === 'DigestMismatch',
  );
  return isWrong || isDisputed ? suspectMirrors : [];
}

export interface MirrorStanding {
  readonly url: string;
  /** Why it is not asked, or gives nothing; undefined: it does, or is being asked. */
  readonly problem?: string | undefined;
  readonly isDropped: boolean;
  readonly isKnown: boolean;
}

export function standingsOf(
  urls: readonly string[],
  record: Pick<EpochRecord, 'mirrors' | 'droppedMirrors'> | undefined,
  /** Of asking for lengths; by URL. */
  problems: ReadonlyMap<string, string>,
  /** Of pulling; by URL. */
  failures: ReadonlyMap<string, PullFailure>,
): MirrorStanding[] {
  const known = new Set(record?.mirrors?.map(({ url }: EpochMirror) => url));
  return urls.map((url) => ({
    url,
    problem: failures.get(url)?.message ?? (known.has(url) ? undefined : problems.get(url)),
    isDropped: record?.droppedMirrors?.includes(url) === true,
    isKnown: known.has(url),
  }));
}

/** Undefined: the spec names none. */
export function mirrorsAvailable(
  standings: readonly MirrorStanding[],
  record: EpochRecord | undefined,
): DistributionCondition<'MirrorsAvailable'> | undefined {
  if (standings.length === 0) return undefined;
  const type = 'MirrorsAvailable';
  const dropped = standings.filter(({ isDropped }) => isDropped).map(({ url }) => shown(url));
  if (dropped.length > 0) {
    const message = `the digest is not that of the bytes that ${listed(dropped)} may have given; correct them, take them out of spec.source.mirrors and name them again`;
    return { type, status: 'False', reason: 'MirrorDropped', message };
  }
  if (record?.source.ranges === false) {
    const message =
      'the origin of spec.source.url does not honour byte ranges, so that nothing is taken from mirrors';
    return { type, status: 'False', reason: 'MirrorUnavailable', message };
  }
  const failing = standings.filter(({ problem }) => problem !== undefined);
  if (failing.length > 0) {
    const names = listed(failing.map(({ url }) => shown(url)));
    const message = `${names}: ${failing[0]?.problem}`;
    return { type, status: 'False', reason: 'MirrorUnavailable', message };
  }
  const asked = standings.filter(({ isKnown }) => !isKnown).length;
  if (asked > 0) {
    return { type, status: 'Unknown', reason: 'Resolving', message: `asking ${asked} mirrors` };
  }
  const message = `${standings.length} have files of the same lengths`;
  return { type, status: 'True', reason: 'MirrorsReady', message };
}

/** Without the query: signed URLs carry credentials there. */
function shown(url: string): string {
  return url.split('?')[0]?.slice(0, 200) ?? '';
}
