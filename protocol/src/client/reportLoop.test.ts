import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { TransferReport } from '../messages.ts';
import { spreadOverMs } from './backoff.ts';
import type { ReportContent } from './controlClient.ts';
import { ReportLoop } from './reportLoop.ts';
import { reportOf } from './taskReport.ts';

const aborts: AbortController[] = [];
afterEach(() => {
  for (const abort of aborts.splice(0)) abort.abort();
});

function build(reportIntervalMs = 60_000, isSpread = false) {
  const sent: ReportContent[] = [];
  const state = { reports: [] as TransferReport[], away: false, connected: true };
  const problems: unknown[] = [];
  const acknowledged: TransferReport[] = [];
  const abort = new AbortController();
  aborts.push(abort);
  let lookCount = 0;
  const loop = new ReportLoop({
    client: {
      reportIntervalMs,
      spreadMs: isSpread ? spreadOverMs(reportIntervalMs) : 0,
      get connected() {
        return state.connected;
      },
      report: async (content) => {
        if (state.away) throw new Error('away');
        sent.push(content);
      },
    },
    reports: () => {
      lookCount += 1;
      return state.reports;
    },
    acknowledged: (reports) => acknowledged.push(...reports),
    disk: async () => undefined,
    onProblem: (error) => problems.push(error),
  });
  const looks = () => lookCount;
  return { loop, sent, state, problems, acknowledged, looks, signal: abort.signal };
}

const said = (sent: ReportContent[]) =>
  sent.map(({ transfers }) => transfers.map(({ uid, state }) => `${uid} ${state}`).join(', '));

describe('reports', () => {
  it('go out at once when a state changes, and name only what changed', async () => {
    const { loop, sent, state, signal } = build();
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'transferring' })];
    loop.run(signal);
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    state.reports = [...state.reports, reportOf({ uid: 'b', epoch: 1 }, { state: 'ready' })];
    loop.now();
    await vi.waitFor(() => expect(said(sent)).toEqual(['a transferring', 'b ready']));
  });

  it('are merged while the control server is away, which is said once', async () => {
    const { loop, sent, state, problems, acknowledged, signal } = build(10);
    state.away = true;
    const one = { uid: 'a', epoch: 1 };
    state.reports = [reportOf(one, { state: 'transferring' })];
    loop.run(signal);
    await new Promise((resolve) => setTimeout(resolve, 500));
    state.reports = [reportOf(one, { state: 'ready' })];
    expect(acknowledged).toEqual([]);
    state.away = false;
    await vi.waitFor(() => expect(said(sent)[0]).toBe('a ready'), { timeout: 5_000 });
    expect(problems).toHaveLength(1);
    expect(acknowledged).toEqual(state.reports);
  });

  it('wait for a work stream, and tell what is so by then', async () => {
    const { loop, sent, state, looks, signal } = build(5);
    state.connected = false;
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'transferring' })];
    const running = loop.run(signal);
    loop.now();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(looks()).toBe(0);
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'ready' })];
    state.connected = true;
    loop.forget();
    await vi.waitFor(() => expect(said(sent)).toEqual(['a ready']));
    state.connected = false;
    aborts.at(-1)?.abort();
    await running;
  });

  it('of thousands of agents come to a new control server within its interval, and what is awaited at once', async () => {
    const { loop, sent, state, looks, signal } = build(1_000_000, true);
    state.connected = false;
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'transferring' })];
    loop.run(signal);
    vi.spyOn(Math, 'random').mockReturnValueOnce(0.5);
    state.connected = true;
    loop.forget();
    loop.soon();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(looks()).toBe(0);
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'ready' })];
    loop.now();
    await vi.waitFor(() => expect(said(sent)).toEqual(['a ready']));
  });

  it('that a transfer has begun come within a third of that, also to a new control server', async () => {
    const { loop, sent, state, signal } = build(2_000, true);
    const random = vi.spyOn(Math, 'random').mockReturnValue(1);
    onTestFinished(() => random.mockRestore());
    loop.run(signal);
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    const beganMs = performance.now();
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'transferring' })];
    loop.soon();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(sent).toHaveLength(1);
    // Asked for once more it comes no later.
    loop.soon();
    await vi.waitFor(() => expect(sent).toHaveLength(2));
    expect(performance.now() - beganMs).toBeGreaterThan(300);
    // What a new server is told waits for its own time, and nobody's besides.
    loop.soon();
    loop.forget();
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(sent).toHaveLength(2);
    const told = ['', 'a transferring', 'a transferring'];
    await vi.waitFor(() => expect(said(sent)).toEqual(told), 5_000);
  });

  it('tell a new control server everything again', async () => {
    const { loop, sent, state, signal } = build();
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'ready' })];
    loop.run(signal);
    await vi.waitFor(() => expect(sent).toHaveLength(1));
    loop.forget();
    await vi.waitFor(() => expect(said(sent)).toEqual(['a ready', 'a ready']));
  });

  it('tell anew what was forgotten of one distribution, also while a report is under way', async () => {
    const { loop, sent, state, signal } = build();
    const reports = ['a', 'ab'].map((uid) => reportOf({ uid, epoch: 1 }, { state: 'ready' }));
    state.reports = reports;
    const sending = loop.send(signal);
    loop.forgetOne('a');
    await sending;
    await loop.send(signal);
    expect(said(sent)).toEqual(['a ready, ab ready', 'a ready, ab ready']);
    loop.forgetOne('a');
    await loop.send(signal);
    await loop.send(signal);
    expect(said(sent).slice(2)).toEqual(['a ready']);
  });

  it('that were lost with their work stream are no problem besides that', async () => {
    const { loop, state, problems, signal } = build(5);
    state.away = true;
    loop.run(signal);
    await vi.waitFor(() => expect(problems).toHaveLength(1));
    const other = build(5);
    other.state.away = true;
    other.state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'ready' })];
    const { looks } = other;
    const running = other.loop.run(other.signal);
    // The stream ends while the report is under way.
    other.state.connected = false;
    await new Promise((resolve) => setTimeout(resolve, 50));
    aborts.at(-1)?.abort();
    await running;
    expect([looks(), other.problems]).toEqual([1, []]);
  });

  it('are sent each interval while something changes, and not when nothing does', async () => {
    const { loop, sent, state, looks, signal } = build(5);
    loop.run(signal);
    await vi.waitFor(() => expect(looks()).toBeGreaterThan(5));
    expect(said(sent)).toEqual(['']);
    state.reports = [reportOf({ uid: 'a', epoch: 1 }, { state: 'transferring' })];
    await vi.waitFor(() => expect(said(sent)).toEqual(['', 'a transferring']));
  });
});
