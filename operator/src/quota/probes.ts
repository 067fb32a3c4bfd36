/**
 * Requests of the operator itself, to find out what a file is: under a lease like any other. Who
 * waits keeps room free, so that pullers that renew do not starve it.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { sleep, unlessAborted } from '@sluice/protocol/sleep.ts';
import type { Unproven } from './entries.ts';
import { trafficExhausted } from './exhaustion.ts';
import type { LeaseObserver } from './leaseEvents.ts';
import { type ChargeRequest, LeaseError, type LeaseUse } from './leases.ts';
import { LEASE_TTL_MS, OPERATOR, type OriginBook } from './originBook.ts';
import { groupRecent, groupUsage, type HostGroup, type OriginBooks } from './originBooks.ts';

export interface ProbesDependencies {
  readonly books: OriginBooks;
  readonly clock: Clock;
  readonly newLeaseId: () => string;
  readonly observe: LeaseObserver;
}

type Refusal = 'TrafficExhausted' | 'Busy';

interface Waiting {
  readonly group: string;
  readonly windowBytes: number;
  readonly wake: () => void;
}

const RETRY_MS = 100;
/** Whoever waits is woken; this is for what nobody tells: a period of traffic that begins. */
const LOOK_MS = 1_000;
/** Less than a lease lives: what is open then is closed while it still counts. */
const USE_MS = LEASE_TTL_MS - 2_000;

export class Probes {
  readonly #dependencies: ProbesDependencies;
  /** Who waits, by lease; the first one is next. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(dependencies: ProbesDependencies) {
    this.#dependencies = dependencies;
  }

  clear(): void {
    for (const { wake } of this.#waiting.values()) wake();
    this.#waiting.clear();
  }

  /** Something may be free now: whoever is next at each group of hosts looks. */
  wake(): void {
    const groups = new Set<string>();
    for (const { group, wake } of this.#waiting.values()) {
      if (groups.has(group)) continue;
      groups.add(group);
      wake();
    }
  }

  /** What pullers are to leave free. */
  reserved(group: string): { windowBytes: number; connections: number } {
    const waiting = [...this.#waiting.values()].filter((each) => each.group === group);
    const windowBytes = waiting.reduce((sum, each) => sum + each.windowBytes, 0);
    return { windowBytes, connections: waiting.length };
  }

  async charge<T>(
    { url, uid, maxBytes }: ChargeRequest,
    signal: AbortSignal,
    use: LeaseUse<T>,
  ): Promise<T> {
    const leaseId = this.#dependencies.newLeaseId();
    const { book, slackBytes } = await this.#turn(url, leaseId, maxBytes, signal);
    const { clock } = this.#dependencies;
    const grantedAtMs = clock.now();
    const grant = book.grant({
      leaseId,
      holder: OPERATOR,
      uid,
      epoch: 0,
      pullerKey: '',
      wantConnections: 1,
      terms: { rateBytesPerSecond: 0, slackBytes, connections: 1, maxBytes },
      extents: [],
    });
    this.#leave(leaseId);
    await this.#durable(grant, book, leaseId, signal);
    this.#dependencies.observe({ kind: 'granted', purpose: 'operator' });
    // Its time runs since it counts, not since it is durable: the database may have been away.
    const leftMs = grantedAtMs + USE_MS - clock.now();
    const ending = new AbortController();
    const late = new LeaseError('LeaseEnded', `${book.host} took longer than the lease lives`);
    const timer = clock.setTimer(Math.max(0, leftMs), () => ending.abort(late));
    let usedBytes = 0;
    let unproven: Unproven | undefined;
    try {
      if (leftMs <= 0) throw late;
      usedBytes = maxBytes;
      const used = await use(ending.signal, (connections) => {
        if (connections > 0) unproven = { connections: 1, slackBytes };
      });
      usedBytes = used.usedBytes;
      return used.result;
    } catch (error) {
      throw ending.signal.aborted ? late : error;
    } finally {
      timer.cancel();
      // Its connection is closed here, however it ended.
      await book.settle(leaseId, usedBytes, unproven);
    }
  }

  /** Who does not wait any more leaves a lease behind that was not used. */
  async #durable(
    grant: Promise<void>,
    book: OriginBook,
    leaseId: string,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await unlessAborted(grant, signal);
      signal.throwIfAborted();
    } catch (error) {
      grant.then(() => book.settle(leaseId, 0)).catch(() => {});
      throw error;
    }
  }

  async #bookFor(url: string, signal: AbortSignal): Promise<OriginBook> {
    const { books, clock } = this.#dependencies;
    for (;;) {
      signal.throwIfAborted();
      const book = books.bookFor(url);
      if (book !== undefined) return book;
      if (!books.isLeading) throw new LeaseError('NotReady', 'this replica does not lead');
      await sleep(clock, RETRY_MS, signal);
    }
  }

  /** Resolves when there is room, to be taken at once; rejects when there will be none. */
  async #turn(
    url: string,
    leaseId: string,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<{ readonly book: OriginBook; readonly slackBytes: number }> {
    const { books, clock } = this.#dependencies;
    try {
      for (;;) {
        // Again each time: Origins and their limits may have changed.
        const book = await this.#bookFor(url, signal);
        const group = books.groupOf(book);
        const slackBytes = Math.min(maxBytes, group.limits.bandwidthBytesPerSecond);
        const { promise: woken, resolve: wake } = Promise.withResolvers<void>();
        this.#waiting.set(leaseId, { group: group.key, windowBytes: slackBytes, wake });
        const refusal = this.#refuses(group, leaseId, slackBytes, maxBytes);
        if (refusal === undefined) return { book, slackBytes };
        if (refusal === 'TrafficExhausted') {
          const { message, untilMs } = trafficExhausted(book);
          throw new LeaseError('TrafficExhausted', message, untilMs);
        }
        const over = new AbortController();
        const look = sleep(clock, LOOK_MS, AbortSignal.any([signal, over.signal]));
        await Promise.race([woken, look]).finally(() => over.abort());
      }
    } catch (error) {
      this.#leave(leaseId);
      throw error;
    }
  }

  #leave(leaseId: string): void {
    this.#waiting.delete(leaseId);
    this.wake();
  }

  #refuses(
    { key, limits, books }: HostGroup,
    leaseId: string,
    windowBytes: number,
    maxBytes: number,
  ): Refusal | undefined {
    if (!books.every(({ isOpen }) => isOpen)) return 'Busy';
    if (this.#firstOf(key) !== leaseId) return 'Busy';
    for (const book of books) book.rollPeriod();
    const usage = groupUsage(books);
    const { traffic } = limits;
    if (traffic !== undefined && usage.trafficBytes + maxBytes > traffic.bytes) {
      return usage.connections === 0 ? 'TrafficExhausted' : 'Busy';
    }
    // Its answer may come at once: beside all that the second before may have seen.
    const fits =
      usage.connections + 1 <= limits.connections &&
      groupRecent(books).windowBytes + windowBytes <= limits.bandwidthBytesPerSecond;
    return fits ? undefined : 'Busy';
  }

  #firstOf(group: string): string | undefined {
    for (const [leaseId, waiting] of this.#waiting) if (waiting.group === group) return leaseId;
    return undefined;
  }
}
