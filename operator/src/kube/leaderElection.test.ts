import { describe, expect, it } from 'vitest';
import { FakeClock, steadyRandom } from '../testing/fakeClock.ts';
import { type Lease, leaseApi } from '../testing/leaseApi.ts';
import type { KubeClient, KubeRequest } from './client.ts';
import { type Candidacy, LeaderElection } from './leaderElection.ts';

it('a candidate leads as soon as a leader was silent for its whole duration, not a look later', async () => {
  const { client } = leaseApi();
  const started: string[] = [];
  const electionOf = (identity: string, clock: FakeClock) =>
    new LeaderElection(
      { namespace: 'sluice', name: 'operator', identity, durationMs: 10_000, intervalMs: 1_500 },
      {
        client,
        clock,
        random: steadyRandom,
        onStarted: () => started.push(`${identity} after ${clock.now()} ms`),
        onStopped: () => {},
        onError: (error) => started.push(String(error)),
      },
    );
  // A process whose clock stands still renews nothing.
  const killed = new FakeClock();
  electionOf('killed', killed).start();
  await killed.advance(0);
  const clock = new FakeClock();
  const next = electionOf('next', clock);
  next.start();
  await clock.advance(6_999);
  expect([next.leader, next.renewalSeenMs]).toEqual(['killed', 0]);
  await clock.advance(1);
  expect(next.leader, 'it would have stepped down by now').toBeUndefined();
  await clock.advance(5_000);
  expect(next.leader).toBe('next');
  expect(started).toEqual(['killed after 0 ms', 'next after 10000 ms']);
});

it('a leader steps down at its renew deadline, also while a renewal waits for its answer', async () => {
  const { client, state } = leaseApi();
  const clock = new FakeClock();
  const stopped: string[] = [];
  const election = new LeaderElection(
    { namespace: 'sluice', name: 'operator', identity: 'one', renewDeadlineMs: 7_000 },
    {
      client,
      clock,
      random: steadyRandom,
      onStarted: () => {},
      onStopped: (reason) => {
        stopped.push(`${reason} after ${clock.now()} ms`);
      },
      onError: (error) => stopped.push(String(error)),
    },
  );
  election.start();
  await clock.advance(0);
  state.isSilent = true;
  await clock.advance(6_999);
  expect(election.isLeader).toBe(true);
  await clock.advance(1);
  expect(election.isLeader).toBe(false);
  expect(stopped).toEqual(['lost after 7000 ms']);
});

it('a leader whose event loop is seconds late keeps the Lease', async () => {
  const { client } = leaseApi();
  const clock = new FakeClock();
  const LATE_MS = 2_000;
  const events: string[] = [];
  const later = () => new Promise<void>((resolve) => clock.setTimer(LATE_MS, resolve));
  const request = async (call: KubeRequest) => {
    const answer = await client.request(call);
    await later();
    return answer;
  };
  const election = new LeaderElection(
    { namespace: 'sluice', name: 'operator', identity: 'one', renewDeadlineMs: 7_000 },
    {
      client: { request } as unknown as KubeClient,
      clock: {
        now: () => clock.now(),
        // The deadline is kept; what the loop does between renewals comes late.
        setTimer: (delayMs, callback) =>
          clock.setTimer(delayMs > LATE_MS ? delayMs : delayMs + LATE_MS, callback),
      },
      random: steadyRandom,
      onStarted: (term) => events.push(`term ${term}`),
      onStopped: (reason) => void events.push(reason),
      onError: (error) => events.push(String(error)),
    },
  );
  election.start();
  await clock.advance(120_000);
  expect(events).toEqual(['term 1']);
  expect(election.isLeader).toBe(true);
});

it('a leader that stops gives the Lease back, also when its renewal was broken off and is written', async () => {
  const { client } = leaseApi();
  const clock = new FakeClock();
  const errors: unknown[] = [];
  let isAnswerLost = false;
  const request = async (call: KubeRequest) => {
    const answer = await client.request(call);
    const { signal } = call;
    if (isAnswerLost && call.method === 'PUT' && signal?.aborted === false) {
      isAnswerLost = false;
      await new Promise((_, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason)),
      );
    }
    return answer;
  };
  const dependencies = {
    client: { request } as unknown as KubeClient,
    clock,
    random: steadyRandom,
    onStarted: () => {},
    onStopped: () => {},
    onError: (error: unknown) => errors.push(error),
  };
  const options = { namespace: 'sluice', name: 'operator' };
  const first = new LeaderElection({ ...options, identity: 'first' }, dependencies);
  first.start();
  await clock.advance(0);
  isAnswerLost = true;
  await clock.advance(1_500);
  expect(isAnswerLost, 'a renewal waits for its answer').toBe(false);
  await first.stop();
  const second = new LeaderElection({ ...options, identity: 'second' }, dependencies);
  second.start();
  await clock.advance(0);
  expect(second.isLeader).toBe(true);
  expect(errors).toEqual([]);
});

/** By a leader whose wall clock is so far ahead. */
function writtenAhead(client: KubeClient, aheadMs: number): KubeClient {
  const later = (time: unknown) => new Date(Date.parse(String(time)) + aheadMs).toISOString();
  const request = ({ method, path, body }: { method: string; path: string; body?: Lease }) => {
    if (body === undefined) return client.request({ method, path } as KubeRequest);
    const { acquireTime, renewTime } = body.spec;
    const times = { acquireTime: later(acquireTime), renewTime: later(renewTime) };
    const written = { ...body, spec: { ...body.spec, ...times } };
    return client.request({ method, path, body: written } as unknown as KubeRequest);
  };
  return { request } as unknown as KubeClient;
}

const HOUR_MS = 3_600_000;

it.each([
  { clocks: "an hour ahead of the candidate's", aheadMs: HOUR_MS },
  { clocks: "an hour behind the candidate's", aheadMs: -HOUR_MS },
])(
  'a leader whose wall clock is $clocks keeps the Lease while it renews, and no longer',
  async ({ aheadMs }) => {
    const { client } = leaseApi();
    const started: string[] = [];
    const electionOf = (identity: string, its: KubeClient, clock: FakeClock) =>
      new LeaderElection(
        { namespace: 'sluice', name: 'operator', identity, durationMs: 10_000, intervalMs: 1_500 },
        {
          client: its,
          clock,
          random: steadyRandom,
          onStarted: () => started.push(identity),
          onStopped: (reason) => void started.push(`${identity} ${reason}`),
          onError: (error) => started.push(String(error)),
        },
      );
    const [first, clock] = [new FakeClock(), new FakeClock()];
    electionOf('leader', writtenAhead(client, aheadMs), first).start();
    await first.advance(0);
    const candidate = electionOf('candidate', client, clock);
    candidate.start();
    for (let second = 0; second < 120; second += 1) {
      await first.advance(1_000);
      await clock.advance(1_000);
    }
    expect(started).toEqual(['leader']);
    // The leader's clock stands still from here on: it renews nothing any more.
    const seenMs = clock.now() - (candidate.renewalSeenMs ?? 0);
    expect(seenMs).toBeLessThan(2 * 1_500);
    await clock.advance(10_000 - seenMs - 1);
    expect(started).toEqual(['leader']);
    await clock.advance(2 * 1_500);
    expect(started).toEqual(['leader', 'candidate']);
  },
);

describe('a candidate whose turn is not now', () => {
  function candidate(identity: string, clock: FakeClock, client: KubeClient, may: () => Candidacy) {
    const story: string[] = [];
    const election = new LeaderElection(
      { namespace: 'sluice', name: 'operator', identity, durationMs: 10_000, intervalMs: 1_500 },
      {
        client,
        clock,
        random: steadyRandom,
        candidacy: may,
        onStarted: () => story.push(`leads after ${clock.now()} ms`),
        onStopped: () => {},
        onError: (error) => story.push(String(error)),
      },
    );
    election.start();
    return { election, story };
  }

  it.each([
    ['second', ['leads after 2000 ms']],
    ['late', ['leads after 20000 ms']],
    ['never', []],
  ] as const)('%s: takes a Lease that nobody has wanted for so long', async (may, expected) => {
    const { client } = leaseApi();
    const clock = new FakeClock();
    const { story } = candidate('one', clock, client, () => may);
    await clock.advance(120_000);
    expect(story).toEqual(expected);
  });

  it('leaves it to one that is of use, and counts anew when that one has gone', async () => {
    const { client } = leaseApi();
    const clock = new FakeClock();
    const late = candidate('late', clock, client, () => 'late');
    await clock.advance(15_000);
    const able = candidate('able', clock, client, () => 'now');
    await clock.advance(60_000);
    expect([able.story, late.story]).toEqual([['leads after 15000 ms'], []]);
    await able.election.stop();
    await clock.advance(19_000);
    expect(late.story).toEqual([]);
    await clock.advance(5_000);
    expect(late.story).toHaveLength(1);
  });

  it('takes it at once when it has become one', async () => {
    const { client } = leaseApi();
    const clock = new FakeClock();
    let may: Candidacy = 'late';
    const { story } = candidate('one', clock, client, () => may);
    await clock.advance(5_000);
    may = 'now';
    await clock.advance(1_500);
    expect(story).toHaveLength(1);
  });
});
