/** A journal in memory, whose answers a test may lose or hold back. */
import type { JournalDocument } from '../quota/entries.ts';
import {
  DuplicateDocumentError,
  type JournalStore,
  type StoredSnapshot,
} from '../quota/journal.ts';

export class MemoryJournal implements JournalStore {
  readonly documents = new Map<string, JournalDocument>();
  readonly snapshots = new Map<string, StoredSnapshot>();
  /** Asked at each insert: `lost` keeps the document and loses the answer, `down` keeps nothing. */
  fault: () => 'none' | 'lost' | 'down' = () => 'none';

  /** Waited for before what is in a journal is read. */
  reading: (origin: string) => Promise<void> = async () => {};

  async insert(document: JournalDocument): Promise<void> {
    const fault = this.fault();
    if (fault === 'down') throw new Error('the database is away');
    if (this.documents.has(document._id)) throw new DuplicateDocumentError(document._id);
    this.documents.set(document._id, structuredClone(document));
    if (fault === 'lost') throw new Error('the answer was lost');
  }

  async find(origin: string, sequence: number): Promise<JournalDocument | undefined> {
    return this.documents.get(`${origin}/${sequence}`);
  }

  async *after(origin: string, sequence: number): AsyncGenerator<JournalDocument, void, undefined> {
    await this.reading(origin);
    yield* this.of(origin).filter((document) => document.sequence > sequence);
  }

  async barrier(): Promise<void> {
    if (this.fault() === 'down') throw new Error('the database is away');
  }

  async origins(): Promise<string[]> {
    if (this.fault() === 'down') throw new Error('the database is away');
    return [...new Set([...this.documents.values()].map(({ origin }) => origin))];
  }

  async loadSnapshot(origin: string): Promise<StoredSnapshot | undefined> {
    return this.snapshots.get(origin);
  }

  async saveSnapshot(snapshot: StoredSnapshot): Promise<void> {
    const known = this.snapshots.get(snapshot.origin);
    if (known !== undefined && known.sequence >= snapshot.sequence) return;
    this.snapshots.set(snapshot.origin, structuredClone(snapshot));
  }

  async prune(origin: string, sequence: number): Promise<void> {
    for (const document of this.of(origin)) {
      if (document.sequence <= sequence && !document.fence) this.documents.delete(document._id);
    }
  }

  /** In the order of their sequence. */
  of(origin: string): JournalDocument[] {
    return [...this.documents.values()]
      .filter((document) => document.origin === origin)
      .sort((a, b) => a.sequence - b.sequence);
  }
}
