import { ftruncateSync, openSync, statfsSync, writeSync } from 'node:fs';
import path from 'node:path';

const CHUNK_BYTES = 2 * 1024 * 1024;
const LET_GO_EVERY_MS = 20;

/**
 * A file in memory that shrinks as others beside it grow. A hypervisor takes back memory that its
 * guest does not use, and to get it again costs ten times as much processor time as to write to it;
 * disks would take the bytes without the processor. So what a run is going to store is in use
 * already, and is let go just when it is needed.
 */
export class Ballast {
  readonly #descriptor: number;
  readonly #folder: string;
  #sizeBytes = 0;
  #totalBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(folder: string) {
    this.#folder = folder;
    this.#descriptor = openSync(path.join(folder, 'ballast'), 'w');
  }

  /** Takes memory for so many bytes of files that are to come. */
  take(bytes: number): void {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    while (this.#sizeBytes < bytes) {
      this.#sizeBytes += writeSync(this.#descriptor, chunk, 0, CHUNK_BYTES, this.#sizeBytes);
    }
    this.#totalBytes = this.#usedBytes();
    this.#timer ??= setInterval(() => this.#letGo(), LET_GO_EVERY_MS).unref();
  }

  /** Until it is taken again it stays as large as it is. */
  rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #letGo(): void {
    const tooMany = this.#usedBytes() - this.#totalBytes;
    if (tooMany <= 0 || this.#sizeBytes === 0) return;
    this.#sizeBytes = Math.max(0, this.#sizeBytes - Math.ceil(tooMany / CHUNK_BYTES) * CHUNK_BYTES);
    ftruncateSync(this.#descriptor, this.#sizeBytes);
  }

  #usedBytes(): number {
    const { blocks, bfree, bsize } = statfsSync(this.#folder);
    return (blocks - bfree) * bsize;
  }
}
