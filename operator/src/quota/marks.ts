/**
 * What the Origin's status keeps of a journal, always ahead of it: a database that was restored from
 * a backup, emptied or replaced is behind its mark, and cannot open a second allowance. PURE.
 */

export interface JournalMark {
  /** Name of the journal: a host, or a region of one. */
  readonly host: string;
  /** Of the journal, from its first document on: another database has another one. */
  readonly identity: string;
  /** This document is known to be durable: a journal that ends before it is behind. */
  readonly written: number;
  /** No document with a grant is after this one. */
  readonly sequence: number;
  /** No more was ever charged in that period, or may be charged for what is leased. */
  readonly trafficBytes: number;
  /** Milliseconds since the Unix epoch; 0 while no period has begun. */
  readonly periodStartMs: number;
}

/** Why nothing is granted under an Origin until a person has acted. */
export interface JournalTrouble {
  /** A gap in it; or a newer release has written it. */
  readonly reason: 'JournalBroken' | 'NewerSchema';
  readonly message: string;
}

/** Of the journals that an Origin covers. */
export interface OriginJournals {
  /** Undefined: it is not known which journals there are. */
  readonly marks: readonly JournalMark[] | undefined;
  readonly trouble?: JournalTrouble | undefined;
  /** Those whose database has lost something, and until when they grant nothing, by the wall clock. */
  readonly behind: readonly { readonly host: string; readonly untilMs: number }[];
}

/** Where a journal is, or will be. */
export type JournalPosition = Omit<JournalMark, 'host' | 'written'>;

/** Of an Origin: how fast traffic may grow, and how far. */
export interface MarkLimits {
  readonly bandwidthBytesPerSecond: number;
  readonly traffic: { readonly bytes: number } | undefined;
}

/** About half a minute of documents, at the most that a database takes. */
export const SEQUENCE_STEP = 8_192;
/** Traffic is marked for so long ahead, at the whole bandwidth. */
const AHEAD_SECONDS = 8;
const MIN_TRAFFIC_STEP = 64 * 1024 * 1024;
/** Where no bandwidth is set. */
const MAX_TRAFFIC_STEP = 64 * 1024 ** 3;

/** Whether a document may be written after which the journal is there. */
export function isWithin(position: JournalPosition, mark: JournalMark): boolean {
  if (position.identity !== mark.identity || position.sequence > mark.sequence) return false;
  // What a period that is over was still charged is no matter of the next one's mark.
  if (position.periodStartMs !== mark.periodStartMs) {
    return position.periodStartMs < mark.periodStartMs;
  }
  return position.trafficBytes <= mark.trafficBytes;
}

/** Whether what was known to be written is missing. */
export function isBehind(
  { identity, sequence }: Pick<JournalPosition, 'identity' | 'sequence'>,
  mark: JournalMark,
): boolean {
  return identity !== mark.identity || sequence < mark.written;
}

/** Of two marks of one journal: no part of a mark goes back, within a period. */
export function isOlder(one: JournalMark, other: JournalMark): boolean {
  if (one.sequence !== other.sequence) return one.sequence < other.sequence;
  if (one.periodStartMs !== other.periodStartMs) return one.periodStartMs < other.periodStartMs;
  return one.trafficBytes < other.trafficBytes;
}

/** Whether the mark should be moved now, and not when somebody looks: less than half is left. */
export function isRunningShort(
  position: JournalPosition,
  mark: JournalMark | undefined,
  limits: MarkLimits,
): boolean {
  if (mark === undefined || !isWithin(position, mark)) return true;
  if (position.sequence + SEQUENCE_STEP / 2 > mark.sequence) return true;
  return trafficAhead(position, limits, stepOf(limits) / 2) > mark.trafficBytes;
}

/** The mark for a journal that will be there. No part of it goes back, within a period. */
export function nextMark(
  host: string,
  position: JournalPosition,
  written: number,
  limits: MarkLimits,
  mark: JournalMark | undefined,
): JournalMark {
  if (mark !== undefined && !isRunningShort(position, mark, limits)) return { ...mark, written };
  const { identity, periodStartMs } = position;
  const isSamePeriod = mark?.periodStartMs === periodStartMs;
  const ahead = trafficAhead(position, limits, stepOf(limits));
  return {
    host,
    identity,
    written,
    sequence: Math.max(position.sequence + SEQUENCE_STEP, mark?.sequence ?? 0),
    trafficBytes: Math.ceil(Math.max(ahead, isSamePeriod ? mark.trafficBytes : 0)),
    periodStartMs,
  };
}

/** Nothing is granted over the limit, so nothing over it needs a mark. */
function trafficAhead({ trafficBytes }: JournalPosition, { traffic }: MarkLimits, step: number) {
  const most = Math.max(trafficBytes, traffic?.bytes ?? Number.POSITIVE_INFINITY);
  return Math.min(trafficBytes + step, most);
}

function stepOf({ bandwidthBytesPerSecond }: MarkLimits): number {
  const ahead = bandwidthBytesPerSecond * AHEAD_SECONDS;
  return Math.min(Math.max(ahead, MIN_TRAFFIC_STEP), MAX_TRAFFIC_STEP);
}
