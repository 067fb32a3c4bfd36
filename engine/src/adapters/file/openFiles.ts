import type { FileSpan } from '../../pieces/layout.ts';
import type { FileSystem, OpenedFile } from './fileSystem.ts';

interface Entry {
  readonly opening: Promise<OpenedFile>;
  readonly writable: boolean;
  users: number;
  dropped: boolean;
}

let filesNumbered = 0;

/** What a file is called in the disk's thread, unique in the process: two stores may have one name. */
export function newFileNumber(): number {
  filesNumbered += 1;
  return filesNumbered;
}

/** Of one store; more are open only while more are worked on at once. */
const DEFAULT_LIMIT = 32;

/** The files of a version, opened when they are needed: a thousand files are not a thousand handles. */
export class OpenFiles {
  readonly #paths: readonly string[];
  readonly #fileSystem: FileSystem;
  readonly #limit: number;
  /** By index; used longest ago first. */
  readonly #entries = new Map<number, Entry>();
  readonly #closing = new Set<Promise<void>>();
  #isClosed = false;

  constructor(paths: readonly string[], fileSystem: FileSystem, limit = DEFAULT_LIMIT) {
    this.#paths = paths;
    this.#fileSystem = fileSystem;
    this.#limit = limit;
  }

  /** The files stay open until the work settles. */
  async use<Result>(
    indices: readonly number[],
    access: 'read' | 'write',
    work: (files: readonly OpenedFile[]) => Promise<Result>,
  ): Promise<Result> {
    const entries = indices.map((index) => this.#take(index, access));
    try {
      const opened = await Promise.allSettled(entries.map(({ opening }) => opening));
      const failed = opened.find((each) => each.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      return await work(await Promise.all(entries.map(({ opening }) => opening)));
    } finally {
      for (const entry of entries) this.#release(entry);
      this.#shrink(this.#isClosed ? 0 : this.#limit);
    }
  }

  /** Fills the buffer with what these spans have, one after the other, from the offset on. */
  async read(spans: readonly FileSpan[], offset: number, buffer: Uint8Array): Promise<Uint8Array> {
    const indices = spans.map(({ fileIndex }) => fileIndex);
    await this.use(indices, 'read', async (files) => {
      let at = 0;
      let spanStart = 0;
      for (const [index, span] of spans.entries()) {
        const from = Math.max(0, offset - spanStart);
        const to = Math.min(offset + buffer.length - spanStart, span.sizeBytes);
        spanStart += span.sizeBytes;
        if (from >= to) continue;
        const part = buffer.subarray(at, at + to - from);
        const count = await (files[index] as OpenedFile).read(part, span.offset + from);
        if (count < part.length) throw new Error('it is shorter than it was');
        at += count;
      }
    });
    return buffer;
  }

  /** Those that are used, as when a peer is being served, when they are not any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#shrink(0);
    await Promise.all(this.#closing);
  }

  #take(index: number, access: 'read' | 'write'): Entry {
    let entry = this.#entries.get(index);
    if (entry !== undefined && access === 'write' && !entry.writable) {
      this.#drop(index, entry);
      entry = undefined;
    }
    if (entry === undefined) {
      const opening = this.#fileSystem.open(this.#paths[index] as string, access);
      const opened: Entry = { opening, writable: access === 'write', users: 0, dropped: false };
      opening.catch(() => this.#drop(index, opened));
      entry = opened;
    }
    entry.users += 1;
    this.#entries.delete(index);
    this.#entries.set(index, entry);
    return entry;
  }

  #release(entry: Entry): void {
    entry.users -= 1;
    if (entry.dropped && entry.users === 0) this.#close(entry);
  }

  #shrink(limit: number): void {
    for (const [index, entry] of this.#entries) {
      if (this.#entries.size <= limit) return;
      if (entry.users === 0) this.#drop(index, entry);
    }
  }

  #drop(index: number, entry: Entry): void {
    if (entry.dropped) return;
    entry.dropped = true;
    if (this.#entries.get(index) === entry) this.#entries.delete(index);
    if (entry.users === 0) this.#close(entry);
  }

  #close({ opening }: Entry): void {
    const closing = this.#closed(opening)
      .catch(() => {})
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  async #closed(opening: Promise<OpenedFile>): Promise<void> {
    const file = await opening;
    // The thread goes on with a digest after it has answered: until it is through with that, the
    // number must not come to mean another file.
    await this.#fileSystem.run({ kind: 'write', descriptor: file.descriptor, writes: [] });
    await file.close();
  }
}
