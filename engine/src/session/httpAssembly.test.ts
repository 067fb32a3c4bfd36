import { expect, it } from 'vitest';
import { HttpAssembly } from './httpAssembly.ts';

it('leaves nothing behind with the signal of one who follows it for long', async () => {
  const sizeBytes = 100;
  const owner = { wrote: () => {}, finish: async () => 'verified' as const, abort: () => {} };
  const gaps = [{ offset: 0, length: sizeBytes }];
  const assembly = new HttpAssembly(0, 'origin', new Uint8Array(sizeBytes), gaps, owner);
  const { signal } = new AbortController();
  let listeners = 0;
  let most = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...given: unknown[]) => {
    listeners += 1;
    most = Math.max(most, listeners);
    (add as (...all: unknown[]) => void)(...given);
  };
  signal.removeEventListener = (...given: unknown[]) => {
    listeners -= 1;
    (remove as (...all: unknown[]) => void)(...given);
  };
  const read: number[] = [];
  const reading = (async () => {
    for await (const chunk of assembly.follow(0, signal)) read.push(...chunk);
  })();
  for (let at = 0; at < sizeBytes; at += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    assembly.write(at, Uint8Array.of(at));
  }
  await reading;
  expect(read).toEqual(Array.from({ length: sizeBytes }, (_, at) => at));
  expect(most).toBe(1);
  expect(listeners).toBe(0);
});

it('wakes who follows it when he is gone', async () => {
  const owner = { wrote: () => {}, finish: async () => 'verified' as const, abort: () => {} };
  const gaps = [{ offset: 0, length: 10 }];
  const assembly = new HttpAssembly(0, 'origin', new Uint8Array(10), gaps, owner);
  const gone = new AbortController();
  const next = assembly.follow(0, gone.signal).next();
  gone.abort(new Error('the client is gone'));
  await expect(next).rejects.toThrow('the client is gone');
});
