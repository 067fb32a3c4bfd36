/**
 * The journal of those who lead. Each host's own journal keeps a leader of the past from granting
 * there once it is fenced; one that nobody has fenced yet, because nothing was ever asked of that
 * host, would let him go on beside the new leader, under limits that both count alone. So a leader
 * fences this journal before it looks which hosts there are, and writes here after each host's
 * fence, before it grants anything there: of two leaders the earlier one either is fenced here and
 * finds out, or the later one finds that host.
 */
import { Journal, type JournalDependencies, type JournalOptions } from './journal.ts';

/** No host is called so. */
export const LEADERS = '#leaders';

export class Leaders {
  readonly #journal: Journal;
  #open: Promise<void> | undefined;

  /** A database that went back under the leader before leaves a hole: that stops nobody. */
  constructor(
    options: Omit<JournalOptions, 'origin' | 'isFencesOnly'>,
    dependencies: JournalDependencies,
  ) {
    this.#journal = new Journal({ origin: LEADERS, isFencesOnly: true, ...options }, dependencies);
  }

  /** Resolves when whoever led before can begin nothing new at any host. */
  open(signal: AbortSignal): Promise<void> {
    this.#open ??= this.#journal.open(signal).catch((error) => {
      this.#open = undefined;
      throw error;
    });
    return this.#open;
  }

  /** Resolves when nobody had led since, after the call. */
  async confirm(signal: AbortSignal): Promise<void> {
    await this.open(signal);
    await this.#journal.append([]);
  }

  close(): void {
    this.#journal.close();
  }
}
