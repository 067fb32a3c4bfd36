import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { DiskThread } from './diskThread.ts';

/** A worker that does what a test says. */
class FakeWorker extends EventEmitter {
  readonly asked: { readonly id: number }[] = [];

  ref(): void {}
  unref(): void {}

  postMessage(question: { readonly id: number }): void {
    this.asked.push(question);
  }

  answer(): void {
    for (const { id } of this.asked.splice(0)) {
      this.emit('message', { id, result: { stored: true, hash: new Uint8Array() } });
    }
  }
}

const job = { kind: 'forget' as const, file: 1 };

it('goes on with another worker when one dies, whose end says nothing of the jobs of the next', async () => {
  const workers: FakeWorker[] = [];
  const thread = new DiskThread(() => {
    const worker = new FakeWorker();
    workers.push(worker);
    return worker as unknown as Worker;
  });
  const lost = thread.run(job);
  workers[0]?.emit('error', new Error('out of memory'));
  await expect(lost).rejects.toThrow('out of memory');
  const next = thread.run(job);
  // It comes after the error, when the successor is at work already.
  workers[0]?.emit('exit', 1);
  workers[1]?.answer();
  await expect(next).resolves.toMatchObject({ stored: true });
  expect(workers).toHaveLength(2);
  const last = thread.run(job);
  workers[1]?.emit('exit', 1);
  await expect(last).rejects.toThrow('the disk thread ended');
});
