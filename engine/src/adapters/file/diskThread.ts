import { Worker } from 'node:worker_threads';
import type { DiskJob, DiskResult } from './diskWork.ts';
import type { DiskAnswer } from './diskWorker.ts';

interface Waiting {
  resolve(result: DiskResult): void;
  reject(error: Error): void;
}

/** The process's one hash and write thread; begins with the first job, never keeps a process up. */
export class DiskThread {
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #nextId = 0;
  readonly #newWorker: () => Worker;

  constructor(newWorker = () => new Worker(new URL('./diskWorker.ts', import.meta.url))) {
    this.#newWorker = newWorker;
  }

  run(job: DiskJob): Promise<DiskResult> {
    const worker = this.#started();
    this.#nextId += 1;
    const id = this.#nextId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      if (this.#waiting.size === 1) worker.ref();
      worker.postMessage({ id, job });
    });
  }

  #started(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = this.#newWorker();
    worker.unref();
    worker.on('message', (answer: DiskAnswer) => this.#answered(answer));
    worker.on('error', (error) => this.#broke(worker, error));
    worker.on('exit', () => this.#broke(worker, new Error('the disk thread ended')));
    this.#worker = worker;
    return worker;
  }

  #answered(answer: DiskAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) this.#worker?.unref();
    if ('result' in answer) waiting?.resolve(answer.result);
    else waiting?.reject(Object.assign(new Error(answer.error.message), answer.error));
  }

  /** The next job starts another one, of which what comes later of this one says nothing. */
  #broke(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    const failed = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of failed) reject(error as Error);
  }
}

export const diskThread = new DiskThread();
