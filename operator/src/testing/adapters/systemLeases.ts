import { systemRandom } from '@sluice/engine/adapters/system/systemRandom.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { JournalStore } from '../../quota/journal.ts';
import { LeaseService } from '../../quota/leaseService.ts';
import type { OriginBooksOptions } from '../../quota/originBooks.ts';
import { MemoryJournal } from '../memoryJournal.ts';

/** Leases in real time, or faster, for tests and benchmarks. */
export function systemLeases(
  options: OriginBooksOptions,
  store: JournalStore = new MemoryJournal(),
  clock: Clock = systemClock,
): LeaseService {
  return new LeaseService(options, {
    store,
    clock,
    random: systemRandom,
    wallClock: () => Date.now(),
    onLost: () => {},
    onBroken: () => {},
    onRetry: () => {},
  });
}
