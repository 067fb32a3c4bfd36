/** Journals, and entries for them, of which only what a test is about is said. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Entry, Terms } from '../quota/entries.ts';
import {
  Journal,
  type JournalDependencies,
  type JournalOptions,
  type JournalStore,
} from '../quota/journal.ts';

type Grant = Extract<Entry, { readonly kind: 'grant' }>;

export function aGrant(leaseId: string, change: Partial<Grant> = {}): Grant {
  return {
    kind: 'grant',
    leaseId,
    holder: 'relay',
    uid: 'a',
    epoch: 1,
    pullerKey: '',
    wantConnections: 1,
    terms: termsOf(),
    extents: [{ first: 0, count: 2 }],
    ...change,
  };
}

export function termsOf(change: Partial<Terms> = {}): Terms {
  return { rateBytesPerSecond: 100, slackBytes: 10, connections: 1, maxBytes: 1000, ...change };
}

/** Not open yet. Its wall clock stands still. */
export function aJournal(
  { term = 1, ...options }: Omit<JournalOptions, 'term'> & { readonly term?: number },
  store: JournalStore,
  clock: Clock,
  onLost: JournalDependencies['onLost'] = () => {},
): Journal {
  const dependencies = { store, clock, onLost, onRetry: () => {}, wallClock: () => 1e12 };
  return new Journal({ ...options, term }, dependencies);
}
