/** Files of deleted Distributions: until when they stay, who may have them, when they are forgotten. */
import type {
  DistributionProgress,
  EpochRecord,
  Grave,
  ResolvedSource,
} from '../controllers/dataSide.ts';

/** An agent that did not come back for so long: what its node has are orphans. */
export const FORGET_AFTER_MS = 7 * 24 * 3600 * 1000;

export interface GraveInput {
  readonly grave: Pick<Grave, 'dueAtMs'>;
  readonly nowMs: number;
  /** By this leader. */
  readonly isTold: boolean;
  /** Nodes that have not said that the files are gone; undefined: not known yet. */
  readonly missing: readonly string[] | undefined;
  readonly nodeExists: (name: string) => boolean;
}

/** wait: the grace lasts, or agents are at it. tell: the files go now. forget: nothing is left to do. */
export function decideGrave(input: GraveInput): 'wait' | 'tell' | 'forget' {
  const { grave, nowMs, isTold, missing, nodeExists } = input;
  if (nowMs < grave.dueAtMs) return 'wait';
  if (!isTold) return 'tell';
  if (nowMs - grave.dueAtMs > FORGET_AFTER_MS) return 'forget';
  // A node that was deleted has taken its disk along.
  return missing !== undefined && !missing.some(nodeExists) ? 'forget' : 'wait';
}

/** Whose files a Distribution at this path takes over. */
export function heritageOf(
  graves: Iterable<Grave>,
  namespace: string,
  path: string,
): Grave | undefined {
  return [...graves]
    .filter((grave) => grave.namespace === namespace && grave.path === path && !grave.condemned)
    .sort((a, b) => b.dueAtMs - a.dueAtMs)[0];
}

/**
 * What lies in a folder of this path, or around it: on a node only one of both can be. At the very path
 * it is what nobody may adopt: there may be no room for both.
 */
export function isInTheWay(grave: Grave, namespace: string, path: string): boolean {
  if (grave.namespace !== namespace) return false;
  if (grave.path === path) return grave.condemned;
  return grave.path.startsWith(`${path}/`) || path.startsWith(`${grave.path}/`);
}

/** Whether it has only been found wrong: its digest would prove to an heir what it has disproved. */
export function failedItsDigest(
  record: EpochRecord,
  progress: DistributionProgress | undefined,
): boolean {
  if (progress?.epoch !== record.epoch) return false;
  const isWrong = progress.nodes.some(({ error }) => error?.reason === 'DigestMismatch');
  return isWrong && !progress.nodes.some(({ state }) => state === 'ready');
}

/** Whether the digests say that adopted files are the right ones; else the origin is asked. */
export function isProven({ unproven, files }: EpochRecord): boolean {
  return (
    unproven !== true ||
    files.every(({ sha256, sizeBytes }) => sha256 !== undefined || sizeBytes === 0)
  );
}

/** Whether the origin still has what the epoch was made from, as far as validators tell. */
export function isSameSource(record: EpochRecord, source: ResolvedSource): boolean {
  const { sizeBytes, validator, files } = source;
  if (files === undefined) {
    const { source: before } = record;
    return sizeBytes === before.sizeBytes && isSameVersion(before.validator, validator);
  }
  const made = new Map(record.files.map((file) => [file.path, file]));
  return (
    files.length === record.files.length &&
    files.every((file) => {
      const before = made.get(file.path);
      if (before?.sizeBytes !== file.sizeBytes || before.sha256 !== file.sha256) return false;
      return file.sizeBytes === 0 || isSameVersion(before.validator, file.validator);
    })
  );
}

type Version = ResolvedSource['validator'] | undefined;

function isSameVersion(before: Version, now: Version): boolean {
  if (before?.etag !== undefined) return before.etag === now?.etag;
  return before?.lastModified !== undefined && before.lastModified === now?.lastModified;
}
