/** The marks of journals as an Origin's status has them, and what it says when one is behind. */
import type { OriginStatus } from '../api/v1alpha1/origin.ts';
import type { OriginJournalStatus } from '../api/v1alpha1/originJournals.ts';
import {
  isOlder,
  type JournalMark,
  type JournalTrouble,
  type OriginJournals,
} from '../quota/marks.ts';
import { schema } from '../store/schema.ts';

export function journalStatusOf({ periodStartMs, ...mark }: JournalMark): OriginJournalStatus {
  const begun = periodStartMs !== 0 && { periodStart: new Date(periodStartMs).toISOString() };
  return schema.stamp('marks', { ...mark, ...begun });
}

/** Throws a NewerSchemaError. */
export function journalMarkOf(journal: OriginJournalStatus): JournalMark {
  const what = `the mark of ${journal.host} in the status of its Origin`;
  const { periodStart, ...mark } = schema.read<OriginJournalStatus>('marks', what, journal);
  return { ...mark, periodStartMs: periodStart === undefined ? 0 : Date.parse(periodStart) };
}

/**
 * By host. Where one has moved from one Origin to another, both may name it: the later counts.
 * Throws a NewerSchemaError.
 */
export function marksOf(statuses: Iterable<OriginStatus | undefined>): Map<string, JournalMark> {
  const marks = new Map<string, JournalMark>();
  for (const status of statuses) {
    for (const journal of status?.journals ?? []) {
      const known = marks.get(journal.host);
      const isLater = journal.sequence > (known?.sequence ?? -1);
      if (isLater) marks.set(journal.host, journalMarkOf(journal));
    }
  }
  return marks;
}

/**
 * What the status is to say. While nothing is known it says what it said: a mark that is lost
 * protects nothing.
 */
export function journalStatus(
  journals: OriginJournals | undefined,
  previous: OriginStatus | undefined,
): Pick<OriginStatus, 'journals'> {
  const next = journals?.marks?.map(journalStatusOf) ?? previous?.journals ?? [];
  if (next.length === 0) return {};
  return { journals: next.toSorted((one, other) => (one.host < other.host ? -1 : 1)) };
}

/** Whether the status has a mark of another one who leads since: ours are of the past. */
export function isOvertaken(
  journals: OriginJournals | undefined,
  previous: OriginStatus | undefined,
): boolean {
  const there = marksOf([previous]);
  return (journals?.marks ?? []).some((own) => {
    const mark = there.get(own.host);
    if (mark === undefined || mark.identity !== own.identity) return false;
    return isOlder(own, mark) || own.written < mark.written;
  });
}

/** Undefined: the database has all that it had. */
export function behindMessage(journals: OriginJournals | undefined): string | undefined {
  const [first] = journals?.behind ?? [];
  if (first === undefined) return undefined;
  const until = new Date(first.untilMs).toISOString();
  return `the database lacks what status.journals says was written for ${first.host} (was it restored, emptied or replaced?): nothing is granted until ${until}, when every lease that it has lost has ended; then all that the mark allows counts as taken`;
}

/** Undefined: every journal of the Origin can be read. */
export function journalTrouble(journals: OriginJournals | undefined): JournalTrouble | undefined {
  const trouble = journals?.trouble;
  if (trouble === undefined) return undefined;
  const { reason, message } = trouble;
  const remedy = '; restore the newest backup of the database and restart the operator';
  const what = `nothing is granted under this Origin: ${message}`;
  return { reason, message: reason === 'JournalBroken' ? `${what}${remedy}` : what };
}
