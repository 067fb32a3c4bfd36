import { describe, expect, it } from 'vitest';
import { TokenBucket } from '../pacing/tokenBucket.ts';
import type { Clock } from '../ports/clock.ts';
import { uploadGate } from './uploadGate.ts';

/** Time that stands still until it is told to pass. */
function stoppedClock() {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly act: () => void }>();
  const clock: Clock = {
    now: () => nowMs,
    setTimer: (ms, act) => {
      const timer = { atMs: nowMs + ms, act };
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
  };
  const pass = async (ms: number) => {
    nowMs += ms;
    for (const timer of timers) {
      if (timer.atMs > nowMs) continue;
      timers.delete(timer);
      timer.act();
    }
    await settled();
  };
  return { clock, timers, pass };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const never = new AbortController().signal;

function gateOf(rateBytesPerSecond: number | undefined) {
  const time = stoppedClock();
  const bucket = new TokenBucket({ rateBytesPerSecond, capacityBytes: 100 }, 0);
  const gate = uploadGate(bucket, time.clock);
  const passed: string[] = [];
  const enter = (name: string, bytes: number, signal = never) => {
    const entered = gate(bytes, signal).then(() => void passed.push(name));
    return entered;
  };
  return { ...time, bucket, passed, enter };
}

describe('the gate of uploads', () => {
  it('lets everything through at once where there is no limit', async () => {
    const { enter, passed, timers } = gateOf(undefined);
    await enter('one', 1e9);
    await enter('two', 1e9);
    expect(passed).toEqual(['one', 'two']);
    expect(timers.size).toBe(0);
  });

  it('lets through who came first, and each when those before it are paid for', async () => {
    const { enter, passed, pass } = gateOf(1000);
    for (const name of ['one', 'two', 'three']) void enter(name, 1000);
    await pass(1);
    expect(passed).toEqual(['one']);
    await pass(998);
    expect(passed).toEqual(['one']);
    await pass(2);
    expect(passed).toEqual(['one', 'two']);
    await pass(1000);
    expect(passed).toEqual(['one', 'two', 'three']);
  });

  it('lets nobody who comes later pass by', async () => {
    const { enter, passed, pass, bucket, clock } = gateOf(1000);
    void enter('one', 1000);
    await settled();
    bucket.refund(50, clock.now());
    void enter('two', 10);
    await settled();
    expect(passed).toEqual([]);
    await pass(1000);
    expect(passed).toEqual(['one']);
  });

  it.each(['first', 'second'])(
    'keeps nobody who is aborted, who is the %s in line',
    async (who) => {
      const { enter, timers, bucket, clock } = gateOf(1);
      bucket.charge(1e6, clock.now());
      const abort = new AbortController();
      if (who === 'second') void enter('before', 1);
      const waiting = enter('aborted', 1, abort.signal);
      await settled();
      abort.abort();
      // Time stands still.
      await waiting;
      await settled();
      expect(timers.size).toBe(who === 'second' ? 1 : 0);
      expect(bucket.available(clock.now())).toBe(-1e6);
    },
  );

  it('goes on with the next one, at once, when the first is aborted', async () => {
    const { enter, passed, bucket, clock } = gateOf(1000);
    const abort = new AbortController();
    void enter('aborted', 1, abort.signal);
    void enter('next', 1);
    await settled();
    bucket.refund(50, clock.now());
    abort.abort();
    await settled();
    expect(passed.toSorted()).toEqual(['aborted', 'next']);
    expect(bucket.available(clock.now())).toBe(49);
  });

  it('keeps no listener of a signal when it is done', async () => {
    const { enter, pass } = gateOf(1000);
    const { signal } = new AbortController();
    let listeners = 0;
    signal.addEventListener = () => {
      listeners += 1;
    };
    signal.removeEventListener = () => {
      listeners -= 1;
    };
    const entered = enter('one', 1, signal);
    await settled();
    expect(listeners).toBeGreaterThan(0);
    await pass(1000);
    await entered;
    expect(listeners).toBe(0);
  });
});
