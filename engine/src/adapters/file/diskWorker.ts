/** The one thread of a process that hashes and writes, on descriptors that the main thread opened. */
import { readSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { type DiskJob, type DiskResult, DiskWork } from './diskWork.ts';

export interface DiskQuestion {
  readonly id: number;
  readonly job: DiskJob;
}

export type DiskAnswer =
  | { readonly id: number; readonly result: DiskResult }
  | { readonly id: number; readonly error: { readonly code: string; readonly message: string } };

const work = new DiskWork({
  read: (descriptor, into, position) => readSync(descriptor, into, 0, into.byteLength, position),
  write: (descriptor, bytes, position) => writeSync(descriptor, bytes, 0, bytes.length, position),
});

function answerOf({ id, job }: DiskQuestion): DiskAnswer {
  try {
    return { id, result: work.run(job) };
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    return { id, error: { code, message } };
  }
}

parentPort?.on('message', (question: DiskQuestion) => {
  parentPort?.postMessage(answerOf(question));
  try {
    work.afterwards(question.job);
  } catch {
    // The digest begins anew when it is asked for, and then it says what is wrong.
  }
});
