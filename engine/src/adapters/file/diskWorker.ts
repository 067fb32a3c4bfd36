/**
 * The one thread of a process that hashes and writes. It works on descriptors that the main
 * thread opened, and keeps a running SHA-256 for each file whose digest will be asked for.
 */
import { createHash, type Hash } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { pieceHash } from '../../feed/pieceHash.ts';

/** Part of a piece in one file. */
export interface DiskSpan {
  readonly descriptor: number;
  readonly position: number;
  readonly sizeBytes: number;
}

export type DiskJob =
  | {
      readonly kind: 'put';
      readonly id: number;
      /** In order; together as long as the bytes. */
      readonly spans: readonly DiskSpan[];
      /** On shared memory: nothing is copied between the threads. */
      readonly bytes: Uint8Array;
      readonly leafCount: number;
      readonly expected: Uint8Array | undefined;
      /** The running digest of the first span's file follows this prefix; 0: not now. */
      readonly prefixBytes: number;
    }
  /** Hashes what stands on the disk. */
  | {
      readonly kind: 'check';
      readonly id: number;
      readonly spans: readonly DiskSpan[];
      readonly leafCount: number;
    }
  | {
      readonly kind: 'digest';
      readonly id: number;
      readonly descriptor: number;
      readonly sizeBytes: number;
    }
  | { readonly kind: 'forget'; readonly id: number; readonly descriptor: number };

export type DiskAnswer =
  | { readonly id: number; readonly stored: boolean; readonly hash: Uint8Array }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string } };

const READ_BYTES = 1_048_576;
/** Digest work after one put: it keeps up with pieces in order without delaying the next one. */
const CATCH_UP_BYTES = 8 * READ_BYTES;

const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
const digests = new Map<number, { hash: Hash; next: number }>();

function run(job: DiskJob): DiskAnswer {
  switch (job.kind) {
    case 'put': {
      const hash = pieceHash(job.bytes, job.leafCount);
      if (job.expected !== undefined && Buffer.compare(hash, job.expected) !== 0) {
        return { id: job.id, stored: false, hash };
      }
      let at = 0;
      for (const { descriptor, position, sizeBytes } of job.spans) {
        writeFully(descriptor, job.bytes.subarray(at, at + sizeBytes), position);
        at += sizeBytes;
      }
      return { id: job.id, stored: true, hash };
    }
    case 'check': {
      const total = job.spans.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const bytes = Buffer.allocUnsafe(total);
      let at = 0;
      for (const { descriptor, position, sizeBytes } of job.spans) {
        at += readFully(descriptor, bytes.subarray(at, at + sizeBytes), position);
      }
      return { id: job.id, stored: at === total, hash: pieceHash(bytes, job.leafCount) };
    }
    case 'digest': {
      follow(job.descriptor, job.sizeBytes, Number.POSITIVE_INFINITY);
      const digest = digestOf(job.descriptor);
      digests.delete(job.descriptor);
      return { id: job.id, stored: digest.next === job.sizeBytes, hash: digest.hash.digest() };
    }
    case 'forget':
      digests.delete(job.descriptor);
      return { id: job.id, stored: false, hash: new Uint8Array() };
  }
}

function digestOf(descriptor: number): { hash: Hash; next: number } {
  const known = digests.get(descriptor) ?? { hash: createHash('sha256'), next: 0 };
  digests.set(descriptor, known);
  return known;
}

function follow(descriptor: number, toBytes: number, atMostBytes: number): void {
  const digest = digestOf(descriptor);
  const end = Math.min(toBytes, digest.next + atMostBytes);
  while (digest.next < end) {
    const wanted = buffer.subarray(0, Math.min(READ_BYTES, end - digest.next));
    const count = readFully(descriptor, wanted, digest.next);
    if (count === 0) return;
    digest.hash.update(wanted.subarray(0, count));
    digest.next += count;
  }
}

function writeFully(descriptor: number, bytes: Uint8Array, position: number): void {
  let at = 0;
  while (at < bytes.byteLength) {
    at += writeSync(descriptor, bytes, at, bytes.byteLength - at, position + at);
  }
}

function readFully(descriptor: number, into: Uint8Array, position: number): number {
  let at = 0;
  while (at < into.byteLength) {
    const count = readSync(descriptor, into, at, into.byteLength - at, position + at);
    if (count === 0) break;
    at += count;
  }
  return at;
}

parentPort?.on('message', (job: DiskJob) => {
  try {
    parentPort?.postMessage(run(job));
    if (job.kind === 'put' && job.prefixBytes > 0) {
      follow((job.spans[0] as DiskSpan).descriptor, job.prefixBytes, CATCH_UP_BYTES);
    }
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    parentPort?.postMessage({ id: job.id, error: { code, message } });
  }
});
