/**
 * Keeps a journal short: snapshots of what is durable, and the removal of what they hold. It runs
 * beside the inserts and may stop at any write: a snapshot replaces the one before in one step, is
 * durable before anything is removed, and what was removed in part lies below it, where nobody reads.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { JournalDocument } from './entries.ts';
import type { StoredSnapshot } from './journal.ts';
import { type Ledger, toSnapshot } from './ledger.ts';

/** A snapshot is taken after so many of any of these: the next leader reads no more than that. */
export interface SnapshotEvery {
  readonly documents: number;
  readonly entries: number;
  readonly bytes: number;
}

const EVERY: SnapshotEvery = { documents: 1_024, entries: 16_384, bytes: 8 * 1024 * 1024 };
/**
 * Documents stay so long at least. A leader of the past may repeat an insert whose outcome it does
 * not know, and only the document that is there refuses it. After this time no holder uses what it
 * would be granted by that: a lease lives 10 s from when it was asked for, and an insert is given up
 * after 5 s.
 */
export const KEEP_MS = 30_000;
const RETRY_MS = 5_000;
/** How finely ages are known. */
const AGE_STEP_MS = 1_000;

export interface SnapshotStore {
  /** A newer one stays: this may come late, from a leader of the past. Durable when it resolves. */
  saveSnapshot(snapshot: StoredSnapshot, signal: AbortSignal): Promise<void>;
  /** All but fences, up to and with `sequence`. */
  prune(origin: string, sequence: number, signal: AbortSignal): Promise<void>;
}

export interface CompactionOptions {
  readonly origin: string;
  /** Absent: after 1,024 documents, 16,384 entries or 8 MiB. */
  readonly snapshotEvery?: SnapshotEvery | undefined;
}

export interface CompactionDependencies {
  readonly store: SnapshotStore;
  readonly clock: Clock;
  /** It only shortens the next leader's reading: tried again later. */
  readonly onRetry: (error: unknown) => void;
}

/** Upper bound of its bytes as JSON, near enough to keep documents and snapshots in bounds. */
export function sizeOf(document: Pick<JournalDocument, 'entries'>): number {
  let bytes = 0;
  for (const entry of document.entries) {
    bytes += 256;
    if (entry.kind === 'grant') bytes += 256 + entry.holder.length + entry.pullerKey.length;
    if (entry.kind === 'grant' || entry.kind === 'renew') bytes += entry.extents.length * 40;
  }
  return bytes;
}

export class Compaction {
  readonly #origin: string;
  readonly #every: SnapshotEvery;
  readonly #dependencies: CompactionDependencies;
  #since = { documents: 0, entries: 0, bytes: 0 };
  /** When documents became durable, coarsely: up to `sequence` at `atMs`. */
  #ages: { sequence: number; readonly atMs: number }[] = [];
  #isRunning = false;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(options: CompactionOptions, dependencies: CompactionDependencies) {
    this.#origin = options.origin;
    this.#every = options.snapshotEvery ?? EVERY;
    this.#dependencies = dependencies;
  }

  /** Of a document that is durable, or was read; its size is what a snapshot saves reading. */
  took(document: JournalDocument): void {
    this.#since.documents += 1;
    this.#since.entries += document.entries.length;
    this.#since.bytes += sizeOf(document);
    const atMs = this.#dependencies.clock.now();
    const last = this.#ages.at(-1);
    if (last !== undefined && atMs - last.atMs < AGE_STEP_MS) last.sequence = document.sequence;
    else this.#ages.push({ sequence: document.sequence, atMs });
  }

  /** Takes a snapshot when it is time to. Resolves when that is done, or has failed. */
  async run(sequence: number, ledger: Ledger, signal: AbortSignal): Promise<void> {
    const { store, clock, onRetry } = this.#dependencies;
    const { documents, entries, bytes } = this.#since;
    const every = this.#every;
    const isDue = documents >= every.documents || entries >= every.entries || bytes >= every.bytes;
    if (!isDue || this.#isRunning || clock.now() < this.#notBeforeMs) return;
    this.#isRunning = true;
    const before = this.#since;
    this.#since = { documents: 0, entries: 0, bytes: 0 };
    try {
      const origin = this.#origin;
      await store.saveSnapshot({ origin, sequence, ledger: toSnapshot(ledger) }, signal);
      const old = this.#oldUntil(sequence);
      if (old !== undefined) await store.prune(origin, old, signal);
    } catch (error) {
      if (signal.aborted) return;
      const { documents, entries, bytes } = this.#since;
      this.#since = {
        documents: documents + before.documents,
        entries: entries + before.entries,
        bytes: bytes + before.bytes,
      };
      this.#notBeforeMs = clock.now() + RETRY_MS;
      onRetry(error);
    } finally {
      this.#isRunning = false;
    }
  }

  /** The last document that is old enough to go, if the snapshot holds it. */
  #oldUntil(snapshot: number): number | undefined {
    const youngest = this.#dependencies.clock.now() - KEEP_MS - AGE_STEP_MS;
    const old = this.#ages.filter(({ atMs, sequence }) => atMs <= youngest && sequence <= snapshot);
    this.#ages = this.#ages.slice(old.length);
    return old.at(-1)?.sequence;
  }
}
