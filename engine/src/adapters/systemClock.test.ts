import { afterEach, describe, expect, it, vi } from 'vitest';
import { systemClock, wakefulTime } from './systemClock.ts';

/** A machine whose time a test lets pass. */
class FakeMachine {
  monotonicMs = 1_000;
  wallMs = 1e12;
  bootMs: number | undefined = 50_000;
  readonly now: () => number;

  constructor({ countsSleep = true } = {}) {
    if (!countsSleep) this.bootMs = undefined;
    this.now = wakefulTime({
      monotonicMs: () => this.monotonicMs,
      wallMs: () => this.wallMs,
      bootMs: () => this.bootMs,
    });
  }

  pass(ms: number): void {
    this.monotonicMs += ms;
    this.sleep(ms);
  }

  sleep(ms: number): void {
    this.wallMs += ms;
    if (this.bootMs !== undefined) this.bootMs += ms;
  }
}

describe('time that counts while the machine sleeps', () => {
  it('passes as the monotonic clock does', () => {
    const machine = new FakeMachine();
    const before = machine.now();
    machine.pass(12_345);
    expect(machine.now() - before).toBe(12_345);
  });

  it('counts what the machine slept, each time', () => {
    const machine = new FakeMachine();
    const before = machine.now();
    machine.sleep(30_000);
    expect(machine.now() - before).toBe(30_000);
    machine.pass(5);
    machine.sleep(7_000);
    expect(machine.now() - before).toBe(37_005);
  });

  it('does not leap when somebody sets the wall clock, nor ever go back', () => {
    const machine = new FakeMachine();
    const before = machine.now();
    machine.wallMs += 3_600_000;
    expect(machine.now() - before).toBe(0);
    machine.wallMs -= 7_200_000;
    machine.pass(10);
    expect(machine.now() - before).toBe(10);
  });

  it('counts sleep also when the wall clock was set meanwhile', () => {
    const machine = new FakeMachine();
    const before = machine.now();
    machine.sleep(20_000);
    machine.wallMs -= 3_600_000;
    expect(machine.now() - before).toBe(20_000);
  });

  it('takes the wall clock at its word where nothing counts sleep', () => {
    const machine = new FakeMachine({ countsSleep: false });
    const before = machine.now();
    machine.sleep(20_000);
    expect(machine.now() - before).toBe(20_000);
    machine.wallMs -= 60_000;
    expect(machine.now() - before).toBe(20_000);
  });

  it('is the time of every process', async () => {
    const before = systemClock.now();
    await new Promise<void>((resolve) => systemClock.setTimer(20, resolve));
    expect(systemClock.now() - before).toBeGreaterThanOrEqual(19);
  });
});

describe('a timer of the process', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each([24, 25, 60, 366])('goes off after %i days, and not at once', async (days) => {
    vi.useFakeTimers();
    const dayMs = 86_400_000;
    let firedAtMs: number | undefined;
    const startMs = Date.now();
    systemClock.setTimer(days * dayMs, () => {
      firedAtMs = Date.now() - startMs;
    });
    await vi.advanceTimersByTimeAsync(days * dayMs - 1);
    expect(firedAtMs).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect(firedAtMs).toBe(days * dayMs);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('can be cancelled, also when it has waited long', async () => {
    vi.useFakeTimers();
    const dayMs = 86_400_000;
    const timer = systemClock.setTimer(60 * dayMs, () => {
      throw new Error('it was cancelled');
    });
    await vi.advanceTimersByTimeAsync(30 * dayMs);
    timer.cancel();
    expect(vi.getTimerCount()).toBe(0);
    await vi.advanceTimersByTimeAsync(60 * dayMs);
  });
});
