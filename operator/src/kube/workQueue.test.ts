import { describe, expect, it } from 'vitest';
import { FakeClock, settle, steadyRandom } from '../testing/fakeClock.ts';
import { KubeError } from './client.ts';
import { WorkQueue } from './workQueue.ts';

function setup(options: ConstructorParameters<typeof WorkQueue>[0] = {}) {
  const clock = new FakeClock();
  const begun: string[] = [];
  const running = new Map<string, PromiseWithResolvers<void>>();
  const delays: number[] = [];
  const queue = new WorkQueue(options, {
    clock,
    random: steadyRandom,
    work(key) {
      begun.push(key);
      if (running.has(key)) throw new Error(`${key} is worked on twice at the same time`);
      const work = Promise.withResolvers<void>();
      running.set(key, work);
      return work.promise.finally(() => running.delete(key));
    },
    onError: (_key, _error, retryAfterMs) => delays.push(retryAfterMs),
  });
  queue.start();
  const finish = async (key: string, error?: Error) => {
    if (error) running.get(key)!.reject(error);
    else running.get(key)!.resolve();
    await settle();
  };
  return { clock, queue, begun, finish, delays };
}

describe('the work queue', () => {
  it('works once on a key that is added many times while it waits', async () => {
    const { queue, begun, finish } = setup({ concurrency: 1 });
    queue.add('a');
    queue.add('b');
    queue.add('b');
    expect(begun).toEqual(['a']);
    await finish('a');
    await finish('b');
    expect(begun).toEqual(['a', 'b']);
  });

  it('works first on what somebody asked for, and on what fell due in one turn of four', async () => {
    const { clock, queue, begun, finish } = setup({ concurrency: 1 });
    queue.add('first');
    for (const key of ['due 1', 'due 2', 'due 3']) queue.addAfter(key, 10);
    await clock.advance(10);
    for (const key of ['a', 'b', 'c', 'd']) queue.add(key);
    // It waits already, among what fell due.
    queue.add('due 3');
    expect(queue.depth).toBe(7);
    for (let at = 0; at < 8; at += 1) await finish(begun[at] as string);
    expect(begun).toEqual(['first', 'a', 'b', 'due 1', 'c', 'd', 'due 3', 'due 2']);
  });

  it('works again, afterwards, on a key that is added while it is worked on', async () => {
    const { queue, begun, finish } = setup();
    queue.add('a');
    queue.add('a');
    queue.add('a');
    expect(begun).toEqual(['a']);
    await finish('a');
    expect(begun).toEqual(['a', 'a']);
    await finish('a');
    expect(begun).toEqual(['a', 'a']);
  });

  it('doubles the delay with each failure and forgets them after a success', async () => {
    const { clock, queue, begun, finish, delays } = setup({ minBackoffMs: 100, maxBackoffMs: 300 });
    queue.add('a');
    for (let failure = 0; failure < 3; failure += 1) {
      await finish('a', new Error('no'));
      await clock.advance(300);
    }
    expect(delays).toEqual([75, 150, 225]);
    await finish('a');
    queue.add('a');
    await finish('a', new Error('no'));
    expect(delays.at(-1)).toBe(75);
    expect(begun).toHaveLength(5);
  });

  it('keeps the earliest of several times', async () => {
    const { clock, queue, begun } = setup();
    queue.addAfter('a', 500);
    queue.addAfter('a', 100);
    queue.addAfter('a', 900);
    await clock.advance(99);
    expect(begun).toEqual([]);
    await clock.advance(1);
    expect(begun).toEqual(['a']);
    await clock.advance(1000);
    expect(begun).toEqual(['a']);
  });

  it('lets nothing but an edit come before the delay of what has failed', async () => {
    const { clock, queue, begun, finish } = setup({ minBackoffMs: 1000 });
    queue.add('a');
    await finish('a', new Error('no'));
    queue.addAfter('a', 0);
    await clock.advance(749);
    expect(begun).toEqual(['a']);
    await clock.advance(1);
    expect(begun).toEqual(['a', 'a']);
    await finish('a', new Error('no'));
    queue.add('a');
    expect(begun).toEqual(['a', 'a', 'a']);
    await finish('a');
    queue.addAfter('a', 10);
    await clock.advance(10);
    expect(begun).toHaveLength(4);
  });

  it.each([
    { when: 'before it failed', waitMs: 20 },
    { when: 'soon after it failed', waitMs: 0 },
  ])('waits out the delay, too, where another time fell due $when', async ({ waitMs }) => {
    const { clock, queue, begun, finish } = setup({ minBackoffMs: 1000 });
    queue.add('a');
    queue.addAfter('a', 10);
    await clock.advance(waitMs);
    await finish('a', new Error('no'));
    await clock.advance(749);
    expect(begun).toEqual(['a']);
    await clock.advance(1);
    expect(begun).toEqual(['a', 'a']);
  });

  it('works again at once on what fell due while its work went well, or was edited while it failed', async () => {
    const { clock, queue, begun, finish } = setup({ minBackoffMs: 1000 });
    queue.add('a');
    queue.addAfter('a', 10);
    await clock.advance(20);
    await finish('a');
    expect(begun).toEqual(['a', 'a']);
    queue.addAfter('a', 10);
    await clock.advance(20);
    queue.add('a');
    await finish('a', new Error('no'));
    expect(begun).toEqual(['a', 'a', 'a']);
    await finish('a');
    await clock.advance(60_000);
    expect(begun).toHaveLength(3);
  });

  it('waits as long as a server that is asked too much says', async () => {
    const { queue, finish, delays } = setup({ minBackoffMs: 100 });
    const tooMany = (retryAfterMs?: number) =>
      new KubeError('TooManyRequests', 429, 'too many', { retryAfterMs });
    for (const error of [tooMany(7000), tooMany(10), tooMany()]) {
      queue.add('a');
      await finish('a', error);
    }
    expect(delays).toEqual([7000, 150, 300]);
  });

  it('works on no more keys at the same time than allowed', async () => {
    const { queue, begun, finish } = setup({ concurrency: 2 });
    for (const key of ['a', 'b', 'c']) queue.add(key);
    expect(begun).toEqual(['a', 'b']);
    await finish('b');
    expect(begun).toEqual(['a', 'b', 'c']);
  });

  it('stops when the work under way has ended, and begins nothing more', async () => {
    const { clock, queue, begun, finish } = setup();
    queue.add('a');
    queue.addAfter('b', 10);
    let stopped = false;
    void queue.stop().then(() => {
      stopped = true;
    });
    await settle();
    expect(stopped).toBe(false);
    await finish('a');
    await clock.advance(100);
    expect(stopped).toBe(true);
    expect(begun).toEqual(['a']);
  });
});
