/**
 * Requests of the operator itself, to find out what a file is: under a lease like any other. Who
 * waits keeps room free, so that pullers that renew do not starve it.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { type ChargeRequest, LeaseError } from './leases.ts';
import type { OriginBook } from './originBook.ts';
import { groupUsage, type HostGroup, type OriginBooks } from './originBooks.ts';
import { sleep } from './sleep.ts';

export interface ProbesDependencies {
  readonly books: OriginBooks;
  readonly clock: Clock;
  readonly newLeaseId: () => string;
}

type Refusal = 'TrafficExhausted' | 'Busy';

const RETRY_MS = 100;

export class Probes {
  readonly #dependencies: ProbesDependencies;
  /** Who waits, by lease; the first one is next. */
  readonly #waiting = new Map<string, { group: string; windowBytes: number }>();

  constructor(dependencies: ProbesDependencies) {
    this.#dependencies = dependencies;
  }

  clear(): void {
    this.#waiting.clear();
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
    use: () => Promise<{ readonly result: T; readonly usedBytes: number }>,
  ): Promise<T> {
    const book = await this.#bookFor(url, signal);
    const leaseId = this.#dependencies.newLeaseId();
    const slackBytes = Math.min(maxBytes, book.limits.bandwidthBytesPerSecond);
    await this.#turn(book, leaseId, slackBytes, maxBytes, signal);
    const grant = book.grant({
      leaseId,
      holder: 'operator',
      uid,
      epoch: 0,
      pullerKey: '',
      wantConnections: 1,
      terms: { rateBytesPerSecond: 0, slackBytes, connections: 1, maxBytes },
      extents: [],
    });
    this.#waiting.delete(leaseId);
    await grant;
    let usedBytes = maxBytes;
    try {
      const used = await use();
      usedBytes = used.usedBytes;
      return used.result;
    } finally {
      // Its connection is closed, however it ended.
      await book.settle(leaseId, usedBytes);
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
    book: OriginBook,
    leaseId: string,
    windowBytes: number,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { books, clock } = this.#dependencies;
    try {
      for (;;) {
        signal.throwIfAborted();
        const group = books.groupOf(book);
        this.#waiting.set(leaseId, { group: group.key, windowBytes });
        const refusal = this.#refuses(group, leaseId, windowBytes, maxBytes);
        if (refusal === undefined) return;
        if (refusal === 'TrafficExhausted') {
          const message = `the traffic that may be taken from ${book.host} in this period is used up`;
          throw new LeaseError('OriginLimit', message);
        }
        await sleep(clock, RETRY_MS, signal);
      }
    } catch (error) {
      this.#waiting.delete(leaseId);
      throw error;
    }
  }

  #refuses(
    { key, limits, books }: HostGroup,
    leaseId: string,
    windowBytes: number,
    maxBytes: number,
  ): Refusal | undefined {
    if (!books.every(({ isOpen }) => isOpen)) return 'Busy';
    const first = [...this.#waiting].find(([, each]) => each.group === key)?.[0];
    if (first !== leaseId) return 'Busy';
    for (const book of books) book.rollPeriod();
    const usage = groupUsage(books);
    const { traffic } = limits;
    if (traffic !== undefined && usage.trafficBytes + maxBytes > traffic.bytes) {
      return usage.connections === 0 ? 'TrafficExhausted' : 'Busy';
    }
    const fits =
      usage.connections + 1 <= limits.connections &&
      usage.windowBytes + windowBytes <= limits.bandwidthBytesPerSecond;
    return fits ? undefined : 'Busy';
  }
}
