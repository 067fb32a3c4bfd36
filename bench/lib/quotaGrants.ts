/** How many leases an origin's journal grants durably, and how soon, over a real database. */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { JournalDocument } from '@sluice/operator/quota/entries.ts';
import { MongoJournalStore } from '@sluice/operator/quota/journalStore.ts';
import type { Limits } from '@sluice/operator/quota/limits.ts';
import { OriginBook } from '@sluice/operator/quota/originBook.ts';
import type { TestDatabase } from '@sluice/operator/testing/adapters/testDatabase.ts';
import { percentile } from './figures.ts';

export interface GrantRun {
  readonly grantsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of this process: folds, the journal, the driver. */
  readonly cores: number;
  /** The database's own time for a document of that size, nothing else going on. */
  readonly commitP50Ms: number;
  readonly commitP99Ms: number;
  readonly grantsPerDocument: number;
  readonly leases: number;
}

export interface GrantOptions {
  readonly host: string;
  /** Held all the time: each new lease settles the oldest one. */
  readonly leases: number;
  readonly seconds: number;
  /** Undefined: as fast as they become durable, so many at once. */
  readonly perSecond?: number;
  readonly atOnce?: number;
}

const UNLIMITED: Limits = {
  connections: Number.POSITIVE_INFINITY,
  bandwidthBytesPerSecond: Number.POSITIVE_INFINITY,
  traffic: undefined,
  closeAfterMs: 120_000,
};
const WARM_UP_SECONDS = 1;
const COMMITS = 200;
const TICK_MS = 1;

export async function grantRun(database: TestDatabase, options: GrantOptions): Promise<GrantRun> {
  const { signal } = new AbortController();
  const store = new CountingStore(database.database);
  await store.prepare();
  let failure: Error | undefined;
  const nothing = () => {};
  const book = new OriginBook(
    { host: options.host, limits: UNLIMITED, term: 1, nonce: options.host },
    {
      store,
      clock: systemClock,
      wallClock: () => Date.now(),
      onLost: (error) => {
        failure = error;
      },
      onRetry: nothing,
      onOpen: nothing,
      provenBytes: () => 0,
      onExpired: nothing,
      onGone: nothing,
      confirm: async () => {},
      onCommitted: nothing,
      onFreed: nothing,
      onShort: nothing,
    },
  );
  await book.open(undefined, signal);
  try {
    const load = new Load(book, options.leases);
    const run = (seconds: number) =>
      options.perSecond === undefined
        ? load.asFastAsDurable(seconds, options.atOnce ?? 1)
        : load.steady(seconds, options.perSecond);
    await run(WARM_UP_SECONDS);
    load.forget();
    store.forget();
    const before = { atMs: performance.now(), cpu: process.cpuUsage() };
    await run(options.seconds);
    const seconds = (performance.now() - before.atMs) / 1000;
    const { user, system } = process.cpuUsage(before.cpu);
    if (failure !== undefined) throw failure;
    const waits = load.waitsMs.toSorted((a, b) => a - b);
    const grantsPerDocument = waits.length / store.documents;
    const commits = await store.repeatLast(`${options.host}-alone`, COMMITS, signal);
    return {
      grantsPerSecond: waits.length / seconds,
      p50Ms: percentile(waits, 0.5),
      p99Ms: percentile(waits, 0.99),
      cores: (user + system) / 1e6 / seconds,
      commitP50Ms: percentile(commits, 0.5),
      commitP99Ms: percentile(commits, 0.99),
      grantsPerDocument,
      leases: book.ledger.leases.size,
    };
  } finally {
    book.close();
  }
}

/** New leases one after the other; the oldest is settled for each, so that as many stay. */
class Load {
  readonly waitsMs: number[] = [];
  readonly #book: OriginBook;
  readonly #leases: number;
  readonly #open: string[] = [];
  #serial = 0;

  constructor(book: OriginBook, leases: number) {
    this.#book = book;
    this.#leases = leases;
  }

  forget(): void {
    this.waitsMs.length = 0;
  }

  async asFastAsDurable(seconds: number, atOnce: number): Promise<void> {
    const untilMs = performance.now() + seconds * 1000;
    const requester = async () => {
      while (performance.now() < untilMs) await this.#grant();
    };
    await Promise.all(Array.from({ length: atOnce }, requester));
  }

  /** Requests come evenly, whether or not those before were answered. */
  async steady(seconds: number, perSecond: number): Promise<void> {
    const beganMs = performance.now();
    const grants: Promise<void>[] = [];
    while (performance.now() - beganMs < seconds * 1000) {
      const due = Math.floor(((performance.now() - beganMs) / 1000) * perSecond);
      while (grants.length < due) grants.push(this.#grant());
      await sleep(TICK_MS);
    }
    await Promise.all(grants);
  }

  async #grant(): Promise<void> {
    this.#serial += 1;
    const leaseId = `0123456789abcdef01234567-${this.#serial}`;
    const beganMs = performance.now();
    await this.#book.grant(leaseOf(leaseId, this.#serial));
    this.waitsMs.push(performance.now() - beganMs);
    this.#open.push(leaseId);
    const oldest = this.#open.length > this.#leases ? this.#open.shift() : undefined;
    // It is in the journal, too, but nobody waits for it.
    if (oldest !== undefined) this.#book.settle(oldest, 1_000_000).catch(() => {});
  }
}

function leaseOf(leaseId: string, serial: number): Parameters<OriginBook['grant']>[0] {
  return {
    leaseId,
    holder: `sluice-relay-zone-a-5d9c7b6f4-${serial % 1000}`,
    uid: `5b2f3e0e-7c3a-4f0a-9a3e-${String(serial % 100).padStart(12, '0')}`,
    epoch: 1,
    pullerKey: 'MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQ=',
    wantConnections: 4,
    terms: {
      rateBytesPerSecond: 1_234_567,
      slackBytes: 54_321,
      connections: 2,
      maxBytes: 1_400_000,
    },
    extents: [{ first: serial % 8_000, count: 4 }],
  };
}

class CountingStore extends MongoJournalStore {
  documents = 0;
  #last: JournalDocument | undefined;

  forget(): void {
    this.documents = 0;
  }

  override async insert(document: JournalDocument, signal: AbortSignal): Promise<void> {
    await super.insert(document, signal);
    this.documents += 1;
    this.#last = document;
  }

  /** How long the database takes for such a document, ascending, milliseconds. */
  async repeatLast(origin: string, times: number, signal: AbortSignal): Promise<number[]> {
    const last = this.#last;
    if (last === undefined) throw new Error('nothing was written');
    const tookMs: number[] = [];
    for (let sequence = 1; sequence <= times; sequence += 1) {
      const beganMs = performance.now();
      await super.insert({ ...last, _id: `${origin}/${sequence}`, origin, sequence }, signal);
      tookMs.push(performance.now() - beganMs);
    }
    return tookMs.sort((a, b) => a - b);
  }
}
