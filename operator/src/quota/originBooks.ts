/**
 * The journals of all hosts at their leader, and which of them share limits. A host keeps its own
 * journal whatever Origin covers it: when Origins are deleted, made anew or changed, what is open
 * and what was taken in the period stay counted under whoever covers the host now.
 *
 * The sum over the journals of an Origin is within its limits because one leader decides for all
 * of them from what is under way, and only facts (a settle, an expiry, an acknowledgement) make
 * room: in whatever order those become durable, they are true.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { sleep } from '../sleep.ts';
import { hostOf, policyOfHost } from './coverage.ts';
import type { JournalStore } from './journal.ts';
import { LeaseError } from './leases.ts';
import { type LeaseRecord, type Usage, usageOf } from './ledger.ts';
import { type Limits, limitsOf, OriginBook } from './originBook.ts';

export interface OriginBooksOptions {
  readonly defaultLimits: {
    readonly maxConnections: number;
    readonly maxBandwidthBytesPerSecond: number;
  };
  /** Serve only what an Origin covers. */
  readonly requireOrigin: boolean;
}

export interface OriginBooksDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  /** Another replica leads: this one must stop to. */
  readonly onLost: (error: Error) => void;
  /** The journal of one host has a gap: nothing is granted there, and a person has to look. */
  readonly onBroken: (error: Error) => void;
  readonly onRetry: (error: unknown) => void;
  /** A journal was read and fenced: its leases are known. */
  readonly onOpen: (book: OriginBook) => void;
  readonly onExpired: (lease: LeaseRecord) => void;
  readonly onGone: (lease: LeaseRecord) => void;
  readonly onFreed: (book: OriginBook) => void;
}

interface Leadership {
  readonly term: number;
  readonly nonce: string;
  readonly abort: AbortController;
}

/** Hosts under common limits. */
export interface HostGroup {
  /** `origin:<name>`, or `host:<host>` when no Origin covers it. */
  readonly key: string;
  readonly limits: Limits;
  readonly books: readonly OriginBook[];
}

const DEFAULT_CLOSE_AFTER_SECONDS = 120;
const RETRY_MS = 500;

export class OriginBooks {
  readonly #options: OriginBooksOptions;
  readonly #dependencies: OriginBooksDependencies;
  readonly #books = new Map<string, OriginBook>();
  /** Undefined until they are known: nothing is granted by mistake under limits of nobody. */
  #policies: readonly OriginPolicy[] | undefined;
  #leadership: Leadership | undefined;
  #isListed = false;

  constructor(options: OriginBooksOptions, dependencies: OriginBooksDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  get isLeading(): boolean {
    return this.#leadership !== undefined;
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.#policies = policies;
    for (const book of this.#books.values()) book.limits = this.#limitsOf(book.host);
  }

  /** Fences the journals of all hosts that there ever were, and of each new one as it comes. */
  lead(term: number, nonce: string): void {
    const leadership = { term, nonce, abort: new AbortController() };
    this.#leadership = leadership;
    const { signal } = leadership.abort;
    this.#untilDone(() => this.#dependencies.store.origins(signal), signal).then(
      (hosts) => {
        this.#isListed = true;
        for (const host of hosts) this.#open(host, leadership);
      },
      () => {},
    );
  }

  stepDown(): void {
    this.#leadership?.abort.abort(new LeaseError('NotLeading', 'this replica leads no more'));
    this.#leadership = undefined;
    this.#isListed = false;
    for (const book of this.#books.values()) book.close();
    this.#books.clear();
  }

  all(): IterableIterator<OriginBook> {
    return this.#books.values();
  }

  /** Fences the journal of this URL's host now, not when the first puller waits for it. */
  prepare(url: string): void {
    if (this.#leadership !== undefined) this.#open(hostOf(url), this.#leadership);
  }

  /**
   * The journal of this URL's host; undefined while not all that counts is known. Throws when
   * nobody may ask that host.
   */
  bookFor(url: string): OriginBook | undefined {
    const host = hostOf(url);
    const policies = this.#policies;
    if (policies === undefined || this.#leadership === undefined) return undefined;
    if (this.#options.requireOrigin && policyOfHost(host, policies) === undefined) {
      const message = `no Origin covers ${host}, and the operator serves only what one covers: create an Origin that names this host`;
      throw new LeaseError('OriginRequired', message);
    }
    const book = this.#open(host, this.#leadership);
    if (!this.#isListed) return undefined;
    const { books } = this.groupOf(book);
    return books.every(({ isOpen }) => isOpen) ? book : undefined;
  }

  /** The journal of this URL's host, if anything was ever asked of it. */
  known(url: string): OriginBook | undefined {
    return this.#books.get(hostOf(url));
  }

  groupOf(book: OriginBook): HostGroup {
    const key = this.#keyOf(book.host);
    const books = [...this.#books.values()].filter(({ host }) => this.#keyOf(host) === key);
    return { key, limits: book.limits, books };
  }

  /** All that this Origin covers and was ever asked; undefined while not all is known. */
  groupNamed(originName: string): Pick<HostGroup, 'books'> | undefined {
    const key = originKey(originName);
    const books = [...this.#books.values()].filter(({ host }) => this.#keyOf(host) === key);
    return this.#isListed && books.every(({ isOpen }) => isOpen) ? { books } : undefined;
  }

  find(leaseId: string): { book: OriginBook; lease: LeaseRecord } | undefined {
    for (const book of this.#books.values()) {
      const lease = book.ledger.leases.get(leaseId);
      if (lease !== undefined) return { book, lease };
    }
    return undefined;
  }

  #keyOf(host: string): string {
    const policy = policyOfHost(host, this.#policies ?? []);
    return policy === undefined ? `host:${host}` : originKey(policy.name);
  }

  #limitsOf(host: string): Limits {
    const { defaultLimits } = this.#options;
    const policy = policyOfHost(host, this.#policies ?? []);
    return limitsOf({
      limits: { ...defaultLimits, ...policy?.limits },
      closeAfterSeconds: policy?.closeAfterSeconds ?? DEFAULT_CLOSE_AFTER_SECONDS,
    });
  }

  #open(host: string, { term, nonce, abort }: Leadership): OriginBook {
    const known = this.#books.get(host);
    if (known !== undefined) return known;
    const { onBroken, onLost, onOpen, ...rest } = this.#dependencies;
    const book = new OriginBook(
      { host, term, nonce, limits: this.#limitsOf(host) },
      {
        ...rest,
        onLost: (error) => {
          if (!abort.signal.aborted) onLost(error);
        },
      },
    );
    this.#books.set(host, book);
    this.#untilDone(() => book.open(abort.signal), abort.signal).then(
      () => onOpen(book),
      (error: Error & { code?: unknown }) => {
        if (abort.signal.aborted) return;
        // A journal with a gap: this host is granted nothing, the others go on.
        if (error.code === 'JournalBroken') onBroken(error);
        else onLost(error);
      },
    );
    return book;
  }

  /** Tried until the database answers. */
  async #untilDone<T>(act: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await act();
      } catch (error) {
        const { code } = error as { code?: unknown };
        if (signal.aborted || code === 'JournalBroken') throw error;
        this.#dependencies.onRetry(error);
        await sleep(this.#dependencies.clock, RETRY_MS, signal);
      }
    }
  }
}

/** What counts now over all of them; `except` leaves one lease out. */
export function groupUsage(books: readonly OriginBook[], except?: string): Usage {
  const sum = { connections: 0, rateBytesPerSecond: 0, windowBytes: 0, trafficBytes: 0 };
  for (const { ledger } of books) {
    const usage = usageOf(ledger, except);
    sum.connections += usage.connections;
    sum.rateBytesPerSecond += usage.rateBytesPerSecond;
    sum.windowBytes += usage.windowBytes;
    sum.trafficBytes += usage.trafficBytes;
  }
  return sum;
}

function originKey(name: string): string {
  return `origin:${name}`;
}
