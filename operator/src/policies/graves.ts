/** Files of deleted Distributions: until when they stay, who may have them, when they are forgotten. */
import type {
  DistributionProgress,
  EpochRecord,
  Grave,
  ResolvedSource,
} from '../controllers/dataSide.ts';

/** An agent that did not come back for so long: what its node has are orphans. */
export const FORGET_AFTER_MS = 7 * 24 * 3600 * 1000;

/** A namespace as it is now. */
export interface Namespace {
  readonly uid: string;
  /** It is being deleted, and nothing can be made in it any more. */
  readonly isGoing: boolean;
}

/** Where a Distribution wants its files. */
export interface Place {
  readonly namespace: string;
  /** Undefined: nobody has seen it yet. */
  readonly namespaceUid: string | undefined;
  readonly path: string;
}

export interface GraveInput {
  readonly grave: Pick<Grave, 'dueAtMs' | 'namespaceUid'>;
  /** Undefined: there is none of the name. */
  readonly namespace: Namespace | undefined;
  readonly nowMs: number;
  /** By this leader. */
  readonly isTold: boolean;
  /** Nodes that have not said that the files are gone; undefined: not known yet. */
  readonly missing: readonly string[] | undefined;
  readonly nodeExists: (name: string) => boolean;
}

/** wait: the grace lasts, or agents are at it. tell: the files go now. forget: nothing is left to do. */
export function decideGrave(input: GraveInput): 'wait' | 'tell' | 'forget' {
  const { grave, namespace, nowMs, isTold, missing, nodeExists } = input;
  if (nowMs < grave.dueAtMs && !isWithoutHeirs(grave, namespace)) return 'wait';
  if (!isTold) return 'tell';
  if (nowMs - grave.dueAtMs > FORGET_AFTER_MS) return 'forget';
  // A node that was deleted has taken its disk along.
  return missing !== undefined && !missing.some(nodeExists) ? 'forget' : 'wait';
}

/**
 * Its namespace is gone, or going, or another one has its name, whose pods must not find these files
 * under their paths. Nobody can adopt them, so there is nothing to wait for.
 */
function isWithoutHeirs(
  { namespaceUid }: Pick<Grave, 'namespaceUid'>,
  namespace: Namespace | undefined,
): boolean {
  if (namespaceUid === undefined) return false;
  return namespace?.uid !== namespaceUid || namespace.isGoing;
}

/** Whose files a Distribution at this place takes over. */
export function heritageOf(graves: Iterable<Grave>, place: Place): Grave | undefined {
  return [...graves]
    .filter(
      (grave) =>
        grave.namespace === place.namespace && grave.path === place.path && isFor(grave, place),
    )
    .sort((a, b) => b.dueAtMs - a.dueAtMs)[0];
}

/** Whoever gets the name of a namespace has no right to what was in the one before. */
function isFor({ condemned, namespaceUid }: Grave, place: Place): boolean {
  return !condemned && (namespaceUid === undefined || namespaceUid === place.namespaceUid);
}

/**
 * What lies in a folder of this path, or around it: on a node only one of both can be. At the very path
 * it is what nobody may adopt: there may be no room for both.
 */
export function isInTheWay(grave: Grave, place: Place): boolean {
  const { namespace, path } = place;
  if (grave.namespace !== namespace) return false;
  if (grave.path === path) return !isFor(grave, place);
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
