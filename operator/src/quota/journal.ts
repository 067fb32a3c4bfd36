/**
 * The journal of one origin, as its leader writes it: durable before anyone is told, dense, one
 * insert in flight, fenced against leaders of the past without transactions.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import { documentId, type Entry, type JournalDocument } from './entries.ts';
import {
  apply,
  emptyLedger,
  fromSnapshot,
  type Ledger,
  type LedgerSnapshot,
  toSnapshot,
} from './ledger.ts';

export interface StoredSnapshot {
  readonly origin: string;
  /** The last document that is in it. */
  readonly sequence: number;
  readonly ledger: LedgerSnapshot;
}

/** Where documents are kept: MongoDB, or memory that a test makes fail. */
export interface JournalStore {
  /**
   * Durable when it resolves. Rejects with a DuplicateDocumentError when that id exists, with
   * anything else when the outcome is unknown.
   */
  insert(document: JournalDocument, signal: AbortSignal): Promise<void>;
  /** As a majority has it: what was read here is not lost any more. */
  find(origin: string, sequence: number, signal: AbortSignal): Promise<JournalDocument | undefined>;
  /** In order, those after `sequence` that a majority has. */
  after(origin: string, sequence: number, signal: AbortSignal): Promise<JournalDocument[]>;
  /**
   * When it resolves, everything that was written before it is durable, too: also a document of
   * which we know only that it exists.
   */
  barrier(signal: AbortSignal): Promise<void>;
  /** All that have a journal. */
  origins(signal: AbortSignal): Promise<string[]>;
  loadSnapshot(origin: string, signal: AbortSignal): Promise<StoredSnapshot | undefined>;
  /** A newer one stays: this may come late, from a leader of the past. */
  saveSnapshot(snapshot: StoredSnapshot, signal: AbortSignal): Promise<void>;
  /** All but fences, up to and with `sequence`. */
  prune(origin: string, sequence: number, signal: AbortSignal): Promise<void>;
}

export class DuplicateDocumentError extends Error {
  readonly code = 'DuplicateDocument';
}

export class JournalError extends Error {
  readonly code: 'NotLeading' | 'JournalBroken';

  constructor(code: JournalError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

export interface JournalOptions {
  readonly origin: string;
  readonly term: number;
  readonly nonce: string;
}

export interface JournalDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  /** Somebody else leads: nothing may be granted any more. */
  readonly onLost: (error: Error) => void;
  /** The database does not answer; tried again with the same document. */
  readonly onRetry: (error: unknown) => void;
}

const RETRY_MS = 500;
const SNAPSHOT_EVERY = 256;
/** Kept below a snapshot, for people who look. */
const KEEP_DOCUMENTS = 64;
const MAX_ENTRIES = 512;

interface Pending {
  readonly entries: readonly Entry[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #dependencies: JournalDependencies;
  readonly #abort = new AbortController();
  #durable: Ledger = emptyLedger;
  #sequence = 0;
  #snapshotAt = 0;
  #queue: Pending[] = [];
  #writing = false;
  #failure: Error | undefined;

  constructor(options: JournalOptions, dependencies: JournalDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  /** What is durable. */
  get ledger(): Ledger {
    return this.#durable;
  }

  get sequence(): number {
    return this.#sequence;
  }

  /**
   * Reads what is there, then writes this term's fence behind it. A leader of the past that still
   * writes collides with the fence; what it wrote before is read here. Resolves when the fence is
   * durable. Terms are not compared: they begin anew when somebody deletes the Lease.
   */
  async open(signal: AbortSignal): Promise<void> {
    const { store } = this.#dependencies;
    const { origin } = this.#options;
    const snapshot = await store.loadSnapshot(origin, signal);
    if (snapshot !== undefined) {
      this.#durable = fromSnapshot(snapshot.ledger);
      this.#sequence = snapshot.sequence;
      this.#snapshotAt = snapshot.sequence;
    }
    const fence: Entry = { kind: 'fence', term: this.#options.term };
    for (;;) {
      await this.#catchUp(signal);
      const document = this.#document([fence], true);
      if (await this.#insert(document, signal)) {
        this.#take(document);
        return;
      }
    }
  }

  /** Resolves when the entries are durable. What was appended earlier is durable then, too. */
  append(entries: readonly Entry[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#queue.push({ entries, resolve, reject });
      void this.#write();
    });
  }

  /** Nothing is written any more; what was not durable is rejected. */
  close(error: Error = new JournalError('NotLeading', 'this replica leads no more')): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#abort.abort(error);
    for (const { reject } of this.#queue.splice(0)) reject(error);
  }

  async #catchUp(signal: AbortSignal): Promise<void> {
    const { store } = this.#dependencies;
    for (const document of await store.after(this.#options.origin, this.#sequence, signal)) {
      if (document.sequence !== this.#sequence + 1) {
        const message = `the journal of ${this.#options.origin} has no document ${this.#sequence + 1}`;
        throw new JournalError('JournalBroken', message);
      }
      this.#take(document);
    }
  }

  /** One insert in flight; all that waits meanwhile goes into the next document together. */
  async #write(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    try {
      while (this.#queue.length > 0 && this.#failure === undefined) {
        const batch = this.#nextBatch();
        const document = this.#document(
          batch.flatMap(({ entries }) => entries),
          false,
        );
        try {
          const inserted = await this.#insert(document, this.#abort.signal);
          if (!inserted) {
            const message = `another leader wrote ${document._id}`;
            throw new JournalError('NotLeading', message);
          }
          this.#take(document);
          for (const { resolve } of batch) resolve();
          await this.#maybeSnapshot();
        } catch (error) {
          const lost = error instanceof Error ? error : new Error(String(error));
          for (const { reject } of batch) reject(lost);
          if (this.#failure === undefined) this.#dependencies.onLost(lost);
          this.close(lost);
        }
      }
    } finally {
      this.#writing = false;
    }
  }

  #nextBatch(): Pending[] {
    let count = 0;
    const fits = this.#queue.findIndex(({ entries }) => {
      count += entries.length;
      return count > MAX_ENTRIES;
    });
    return this.#queue.splice(0, fits === -1 ? this.#queue.length : Math.max(1, fits));
  }

  /**
   * False when somebody else's document has that id. An unknown outcome is resolved by inserting
   * the same document again, and nothing else, until the database answers.
   */
  async #insert(document: JournalDocument, signal: AbortSignal): Promise<boolean> {
    const { store } = this.#dependencies;
    for (;;) {
      signal.throwIfAborted();
      try {
        await store.insert(document, signal);
        return true;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (!(error instanceof DuplicateDocumentError)) {
          this.#dependencies.onRetry(error);
          await sleep(this.#dependencies.clock, RETRY_MS, signal);
          continue;
        }
        const { origin } = this.#options;
        // It exists; a database that changes its primary may still lose it.
        await this.#persist(() => store.barrier(signal), signal);
        const there = await this.#persist(
          () => store.find(origin, document.sequence, signal),
          signal,
        );
        // Lost in between, and not there for a majority: to be written again.
        if (there === undefined) continue;
        return there.nonce === document.nonce;
      }
    }
  }

  /** Tried until the database answers. */
  async #persist<T>(act: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        this.#dependencies.onRetry(error);
        await sleep(this.#dependencies.clock, RETRY_MS, signal);
      }
    }
  }

  #document(entries: readonly Entry[], fence: boolean): JournalDocument {
    const { origin, term, nonce } = this.#options;
    const sequence = this.#sequence + 1;
    return { _id: documentId(origin, sequence), origin, sequence, term, nonce, fence, entries };
  }

  #take(document: JournalDocument): void {
    this.#sequence = document.sequence;
    this.#durable = document.entries.reduce(apply, this.#durable);
  }

  /** Only shortens the next leader's reading: a failure is tried again later. */
  async #maybeSnapshot(): Promise<void> {
    if (this.#sequence - this.#snapshotAt < SNAPSHOT_EVERY) return;
    const { store } = this.#dependencies;
    const { origin } = this.#options;
    const sequence = this.#sequence;
    const ledger = toSnapshot(this.#durable);
    this.#snapshotAt = sequence;
    const signal = this.#abort.signal;
    try {
      await store.saveSnapshot({ origin, sequence, ledger }, signal);
      await store.prune(origin, sequence - KEEP_DOCUMENTS, signal);
    } catch (error) {
      this.#dependencies.onRetry(error);
    }
  }
}
