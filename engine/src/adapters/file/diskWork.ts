import { createHash, type Hash } from 'node:crypto';
import { pieceHash } from '../../feed/pieceHash.ts';
import { recordOf, WRITTEN } from './pieceRecord.ts';

/** Part of a piece in one file. */
export interface DiskSpan {
  readonly descriptor: number;
  readonly position: number;
  readonly sizeBytes: number;
}

/** Where the state file notes a piece. */
export interface RecordPlace {
  readonly descriptor: number;
  readonly position: number;
  readonly piece: number;
}

/** The running SHA-256 of a file follows this prefix of it. */
export interface DigestPrefix {
  /** Names the file, unique in the process. */
  readonly file: number;
  readonly descriptor: number;
  readonly prefixBytes: number;
}

/** Where a piece goes, and what is kept of it. */
export interface PutPlace {
  /** In order; together as long as the piece. */
  readonly spans: readonly DiskSpan[];
  readonly leafCount: number;
  readonly expected: Uint8Array | undefined;
  /** Written at once when the piece is. */
  readonly record: RecordPlace;
  /** Undefined: nobody will ask for it, or not now. */
  readonly digest: DigestPrefix | undefined;
}

/** Hashes and writes. */
interface PutJob extends PutPlace {
  readonly kind: 'put';
  /** On shared memory: nothing is copied between the threads. */
  readonly bytes: Uint8Array;
}

/** The same with bytes that are on the disk already. */
interface CopyJob extends PutPlace {
  readonly kind: 'copy';
  /** Undefined: at the very place. */
  readonly from: DiskSpan | undefined;
}

export type DiskJob =
  | PutJob
  | CopyJob
  /** Hashes what stands on the disk. */
  | {
      readonly kind: 'check';
      readonly spans: readonly DiskSpan[];
      readonly leafCount: number;
    }
  /** Small writes that keep their order among the pieces'. */
  | {
      readonly kind: 'write';
      readonly descriptor: number;
      readonly writes: readonly { readonly bytes: Uint8Array; readonly position: number }[];
    }
  | {
      readonly kind: 'digest';
      readonly file: number;
      readonly descriptor: number;
      readonly sizeBytes: number;
    }
  /** Takes the digest on to there. */
  | { readonly kind: 'follow'; readonly digest: DigestPrefix }
  | { readonly kind: 'forget'; readonly file: number };

export interface DiskResult {
  /** The bytes were there, and as expected. */
  readonly stored: boolean;
  readonly hash: Uint8Array;
}

/** On descriptors; answers how many bytes it moved. */
export interface DiskIo {
  read(descriptor: number, into: Uint8Array, position: number): number;
  write(descriptor: number, bytes: Uint8Array, position: number): number;
}

const READ_BYTES = 1_048_576;
/** Digest work after one put: it keeps up with pieces in order without delaying the next one. */
const CATCH_UP_BYTES = 8 * READ_BYTES;
const NOTHING: DiskResult = { stored: true, hash: new Uint8Array() };

/** What the disk's thread does, job by job. */
export class DiskWork {
  readonly #io: DiskIo;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly #digests = new Map<number, { hash: Hash; next: number }>();

  constructor(io: DiskIo) {
    this.#io = io;
  }

  run(job: DiskJob): DiskResult {
    switch (job.kind) {
      case 'put':
        return this.#put(job);
      case 'copy': {
        const bytes = this.#readable(job.from === undefined ? job.spans : [job.from]);
        if (bytes === undefined) return { ...NOTHING, stored: false };
        return this.#put({ ...job, kind: 'put', bytes }, job.from === undefined);
      }
      case 'check': {
        const bytes = this.#read(job.spans);
        if (bytes === undefined) return { ...NOTHING, stored: false };
        return { stored: true, hash: pieceHash(bytes, job.leafCount) };
      }
      case 'write':
        for (const { bytes, position } of job.writes) this.#write(job.descriptor, bytes, position);
        return NOTHING;
      case 'digest': {
        this.#follow({ ...job, prefixBytes: job.sizeBytes }, Number.POSITIVE_INFINITY);
        const digest = this.#digestOf(job.file);
        this.#digests.delete(job.file);
        return { stored: digest.next === job.sizeBytes, hash: digest.hash.digest() };
      }
      case 'follow':
        this.#follow(job.digest, Number.POSITIVE_INFINITY);
        return NOTHING;
      case 'forget':
        this.#digests.delete(job.file);
        return NOTHING;
    }
  }

  /** What may be done when the job has been answered. */
  afterwards(job: DiskJob): void {
    if ((job.kind !== 'put' && job.kind !== 'copy') || job.digest === undefined) return;
    this.#follow(job.digest, CATCH_UP_BYTES);
  }

  #put({ bytes, spans, leafCount, expected, record }: PutJob, isThere = false): DiskResult {
    const hash = pieceHash(bytes, leafCount);
    if (expected !== undefined && Buffer.compare(hash, expected) !== 0) {
      return { stored: false, hash };
    }
    let at = 0;
    for (const { descriptor, position, sizeBytes } of isThere ? [] : spans) {
      this.#write(descriptor, bytes.subarray(at, at + sizeBytes), position);
      at += sizeBytes;
    }
    this.#write(record.descriptor, recordOf(WRITTEN, record.piece, hash), record.position);
    return { stored: true, hash };
  }

  /** What cannot be read is not there: it comes from elsewhere. */
  #readable(spans: readonly DiskSpan[]): Uint8Array | undefined {
    try {
      return this.#read(spans);
    } catch {
      return undefined;
    }
  }

  /** Undefined: something is shorter than it should be. */
  #read(spans: readonly DiskSpan[]): Uint8Array | undefined {
    const total = spans.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const bytes = Buffer.allocUnsafe(total);
    let at = 0;
    for (const { descriptor, position, sizeBytes } of spans) {
      at += this.#readFully(descriptor, bytes.subarray(at, at + sizeBytes), position);
    }
    return at === total ? bytes : undefined;
  }

  #digestOf(file: number): { hash: Hash; next: number } {
    const known = this.#digests.get(file) ?? { hash: createHash('sha256'), next: 0 };
    this.#digests.set(file, known);
    return known;
  }

  #follow({ file, descriptor, prefixBytes }: DigestPrefix, atMostBytes: number): void {
    const digest = this.#digestOf(file);
    const end = Math.min(prefixBytes, digest.next + atMostBytes);
    while (digest.next < end) {
      const wanted = this.#buffer.subarray(0, Math.min(READ_BYTES, end - digest.next));
      const count = this.#readFully(descriptor, wanted, digest.next);
      if (count === 0) return;
      digest.hash.update(wanted.subarray(0, count));
      digest.next += count;
    }
  }

  #write(descriptor: number, bytes: Uint8Array, position: number): void {
    let at = 0;
    while (at < bytes.byteLength) {
      at += this.#io.write(descriptor, bytes.subarray(at), position + at);
    }
  }

  #readFully(descriptor: number, into: Uint8Array, position: number): number {
    let at = 0;
    while (at < into.byteLength) {
      const count = this.#io.read(descriptor, into.subarray(at), position + at);
      if (count === 0) break;
      at += count;
    }
    return at;
  }
}
