/**
 * The journal of one origin, as its leader writes it: durable before anyone is told, dense, one
 * insert in flight, fenced against leaders of the past without transactions.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import { Compaction, type CompactionOptions, type SnapshotStore, sizeOf } from './compaction.ts';
import { documentId, type Entry, type JournalDocument } from './entries.ts';
import {
  apply,
  emptyLedger,
  fromSnapshot,
  type Ledger,
  type LedgerSnapshot,
  usageOf,
} from './ledger.ts';
import { isBehind, isOlder, isWithin, type JournalMark, type JournalPosition } from './marks.ts';

export interface StoredSnapshot {
  readonly origin: string;
  /** The last document that is in it. */
  readonly sequence: number;
  readonly ledger: LedgerSnapshot;
}

/** Where documents are kept: MongoDB, or memory that a test makes fail. */
export interface JournalStore extends SnapshotStore {
  /**
   * Durable when it resolves. Rejects with a DuplicateDocumentError when that id exists, with
   * anything else when the outcome is unknown.
   */
  insert(document: JournalDocument, signal: AbortSignal): Promise<void>;
  /** Who wrote it, as a majority has it: what was read here is not lost any more. */
  find(origin: string, sequence: number, signal: AbortSignal): Promise<Authorship | undefined>;
  /** In order, those after `sequence` that a majority has; a few at a time, however many there are. */
  after(origin: string, sequence: number, signal: AbortSignal): AsyncIterable<JournalDocument>;
  /**
   * When it resolves, everything that was written before it is durable, too: also a document of
   * which we know only that it exists.
   */
  barrier(signal: AbortSignal): Promise<void>;
  /** All that have a journal. */
  origins(signal: AbortSignal): Promise<string[]>;
  loadSnapshot(origin: string, signal: AbortSignal): Promise<StoredSnapshot | undefined>;
}

/** All that is read of a document that stands where ours was to go: it may be of another release. */
export type Authorship = Pick<JournalDocument, 'nonce'>;

export class DuplicateDocumentError extends Error {
  readonly code = 'DuplicateDocument';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DuplicateDocumentError';
  }
}

export class JournalError extends Error {
  readonly code: 'NotLeading' | 'JournalBroken';

  constructor(code: JournalError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'JournalError';
    this.code = code;
  }
}

export interface JournalOptions extends CompactionOptions {
  readonly term: number;
  readonly nonce: string;
  /** Nothing follows from its entries, so a document that is missing is no loss. */
  readonly isFencesOnly?: boolean;
}

/** What is known of a journal besides itself. */
export interface KnownMark {
  readonly mark: JournalMark;
  /** How long a lease that the journal lacks can be in use, by this clock. */
  readonly lifetimeMs: number;
}

export interface JournalDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  /** Somebody else leads: nothing may be granted any more. */
  readonly onLost: (error: Error) => void;
  /** The database does not answer; tried again with the same document. */
  readonly onRetry: (error: unknown) => void;
  /** What waits is beyond the mark. */
  readonly onUnmarked?: () => void;
}

const RETRY_MS = 500;
/** Of one document. What waits longer goes into the next one. */
const MAX_ENTRIES = 1_024;
/** A document of MongoDB has 16 MiB at most; one lease with many extents may have 300 KiB. */
const MAX_BYTES = 1024 * 1024;

interface Pending {
  readonly entries: readonly Entry[];
  /** With these entries and all before them. */
  readonly after: Ledger;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #dependencies: JournalDependencies;
  readonly #abort = new AbortController();
  readonly #compaction: Compaction;
  #durable: Ledger = emptyLedger;
  #pending: Ledger = emptyLedger;
  #sequence = 0;
  /** Of the documents that were there, also behind a hole. */
  #lastSeen = 0;
  #queue: Pending[] = [];
  #last: Promise<void> = Promise.resolve();
  #writing = false;
  #failure: Error | undefined;
  /** Most of the period's traffic since the queue was empty last. */
  #peakBytes = 0;
  #isMarked = false;
  #mark: JournalMark | undefined;
  #behindUntilMs: number | undefined;

  constructor(options: JournalOptions, dependencies: JournalDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    this.#compaction = new Compaction(options, dependencies);
  }

  /** What is durable. */
  get ledger(): Ledger {
    return this.#durable;
  }

  /** With all that was appended, durable or not: what decisions are made from. */
  get pending(): Ledger {
    return this.#pending;
  }

  get sequence(): number {
    return this.#sequence;
  }

  /** With all that was appended; of traffic the most that anything on the way comes to. */
  get position(): JournalPosition {
    const { identity, periodStartMs } = this.#pending;
    const trafficBytes = Math.max(this.#peakBytes, usageOf(this.#pending).trafficBytes);
    return { identity, sequence: this.#sequence + 1, periodStartMs, trafficBytes };
  }

  get mark(): JournalMark | undefined {
    return this.#mark;
  }

  /** By the wall clock, while the database lacks what the mark says was written. */
  get behindUntilMs(): number | undefined {
    return this.#behindUntilMs;
  }

  /** Whether nothing is written beyond a mark. */
  set isMarked(isMarked: boolean) {
    this.#isMarked = isMarked;
    void this.#write();
  }

  /** It is in the Origin's status now, or in one of those that have a part of the host. */
  marked(mark: JournalMark): void {
    if (this.#mark === undefined || !isOlder(mark, this.#mark)) this.#mark = mark;
    void this.#write();
  }

  /**
   * Reads what is there, then writes this term's fence behind it. A leader of the past that still
   * writes collides with the fence; what it wrote before is read here. Resolves when the fence is
   * durable. Terms are not compared: they begin anew when somebody deletes the Lease.
   *
   * A journal that is behind its mark lacks leases that may be in use: it goes on behind the mark
   * when they have ended.
   */
  async open(signal: AbortSignal, known?: KnownMark): Promise<void> {
    const { term, nonce } = this.#options;
    const { clock, wallClock } = this.#dependencies;
    const { mark, lifetimeMs = 0 } = known ?? {};
    this.#mark = mark;
    const fence: Entry = { kind: 'fence', term, identity: nonce };
    for (;;) {
      const isWhole = await this.#catchUp(signal);
      const at = { identity: this.#durable.identity, sequence: this.#sequence };
      const isRestart = mark !== undefined && (!isWhole || isBehind(at, mark));
      if (!isRestart && !isWhole) {
        const message = `the journal of ${this.#options.origin} has no document ${this.#sequence + 1}`;
        throw new JournalError('JournalBroken', message);
      }
      if (isRestart && this.#behindUntilMs === undefined) {
        this.#behindUntilMs = wallClock() + lifetimeMs;
        await sleep(clock, lifetimeMs, signal);
        // Somebody may have written meanwhile.
        continue;
      }
      const entries = isRestart ? [restartOf(mark, this.#sequence, wallClock()), fence] : [fence];
      // A leader that went on after an earlier loss may have written beyond the mark's end.
      const last = isRestart
        ? Math.max(mark.sequence, this.#sequence, this.#lastSeen)
        : this.#sequence;
      const document = this.#document(entries, true, last + 1);
      if (await this.#insert(document, signal)) {
        this.#read(document);
        this.#pending = this.#durable;
        this.#behindUntilMs = undefined;
        return;
      }
    }
  }

  /** Resolves when the entries are durable. What was appended earlier is durable then, too. */
  append(entries: readonly Entry[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const after = entries.reduce(apply, this.#pending);
    const goesOn = this.#queue.length > 0 && after.periodStartMs === this.#pending.periodStartMs;
    this.#peakBytes = Math.max(goesOn ? this.#peakBytes : 0, usageOf(after).trafficBytes);
    this.#pending = after;
    const durable = new Promise<void>((resolve, reject) => {
      this.#queue.push({ entries, after, resolve, reject });
      void this.#write();
    });
    this.#last = durable;
    durable.catch(() => {});
    return durable;
  }

  /** Resolves when all that was appended is durable: what `pending` says is so. */
  flushed(): Promise<void> {
    return this.#failure === undefined ? this.#last : Promise.reject(this.#failure);
  }

  /** Nothing is written any more; what was not durable is rejected. */
  close(error: Error = new JournalError('NotLeading', 'this replica leads no more')): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#abort.abort(error);
    for (const { reject } of this.#queue.splice(0)) reject(error);
  }

  /** False when a document is missing. */
  async #catchUp(signal: AbortSignal): Promise<boolean> {
    for (;;) {
      await this.#loadSnapshot(signal);
      if (await this.#readOn(signal)) return true;
      // Whoever leads until we fence may have removed what a newer snapshot holds, meanwhile.
      const { origin } = this.#options;
      const newer = await this.#dependencies.store.loadSnapshot(origin, signal);
      if (newer === undefined || newer.sequence <= this.#sequence) return false;
    }
  }

  async #loadSnapshot(signal: AbortSignal): Promise<void> {
    const snapshot = await this.#dependencies.store.loadSnapshot(this.#options.origin, signal);
    if (snapshot === undefined || snapshot.sequence <= this.#sequence) return;
    this.#durable = fromSnapshot(snapshot.ledger);
    this.#sequence = snapshot.sequence;
  }

  /** What is behind a hole is passed over, up to where the journal was made to go on. */
  async #readOn(signal: AbortSignal): Promise<boolean> {
    const { store } = this.#dependencies;
    const { origin, isFencesOnly = false } = this.#options;
    let isWhole = true;
    for await (const document of store.after(origin, this.#sequence, signal)) {
      const isNext = document.sequence === this.#sequence + 1;
      this.#lastSeen = document.sequence;
      isWhole = isNext || isFencesOnly || isRestartAfter(document, this.#sequence);
      if (isWhole) this.#read(document);
    }
    return isWhole;
  }

  #read(document: JournalDocument): void {
    this.#sequence = document.sequence;
    this.#durable = document.entries.reduce(apply, this.#durable);
    this.#compaction.took(document);
  }

  /** One insert in flight; all that waits meanwhile goes into the next document together. */
  async #write(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    try {
      while (this.#queue.length > 0 && this.#failure === undefined) {
        const size = this.#batchSize();
        if (!this.#mayWrite(size)) {
          this.#dependencies.onUnmarked?.();
          break;
        }
        const batch = this.#queue.splice(0, size);
        const entries = batch.flatMap((pending) => pending.entries);
        const document = this.#document(entries, false, this.#sequence + 1);
        try {
          const inserted = await this.#insert(document, this.#abort.signal);
          // It leads no more: what came late the next leader reads, nobody is told of it here.
          if (this.#failure !== undefined) throw this.#failure;
          if (!inserted) {
            const message = `another leader wrote ${document._id}`;
            throw new JournalError('NotLeading', message);
          }
          this.#took(document, batch);
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

  #took(document: JournalDocument, batch: readonly Pending[]): void {
    this.#sequence = document.sequence;
    this.#durable = batch.at(-1)?.after ?? this.#durable;
    for (const { resolve } of batch) resolve();
    this.#compaction.took(document);
    // Inserts go on beside it.
    void this.#compaction.run(this.#sequence, this.#durable, this.#abort.signal);
  }

  #batchSize(): number {
    let [count, bytes] = [0, 0];
    const fits = this.#queue.findIndex((pending) => {
      count += pending.entries.length;
      bytes += sizeOf(pending);
      return count > MAX_ENTRIES || bytes > MAX_BYTES;
    });
    return fits === -1 ? this.#queue.length : Math.max(1, fits);
  }

  /** Whether so much of the queue is within the mark. */
  #mayWrite(size: number): boolean {
    const after = this.#queue[size - 1]?.after;
    if (!this.#isMarked || after === undefined) return true;
    const { identity, periodStartMs } = after;
    const { trafficBytes } = usageOf(after);
    const position = { identity, sequence: this.#sequence + 1, periodStartMs, trafficBytes };
    return this.#mark !== undefined && isWithin(position, this.#mark);
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

  #document(entries: readonly Entry[], fence: boolean, sequence: number): JournalDocument {
    const { origin, term, nonce } = this.#options;
    return { _id: documentId(origin, sequence), origin, sequence, term, nonce, fence, entries };
  }
}

function restartOf(mark: JournalMark, after: number, atMs: number): Entry {
  const { identity, trafficBytes, periodStartMs } = mark;
  return { kind: 'restart', after, identity, trafficBytes, periodStartMs, atMs };
}

function isRestartAfter({ entries }: JournalDocument, sequence: number): boolean {
  const [first] = entries;
  return first?.kind === 'restart' && first.after === sequence;
}
