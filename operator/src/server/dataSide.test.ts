import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import type { DataSide } from '../controllers/dataSide.ts';
import { LeaderElection } from '../kube/leaderElection.ts';
import { newTestDataSide } from '../testing/adapters/testDataSide.ts';
import { FakeClock, steadyRandom } from '../testing/fakeClock.ts';
import { leaseApi } from '../testing/leaseApi.ts';
import type { Coordinator } from './coordinator.ts';

describe('a leader that gives the Lease back', () => {
  const logger = createLogger({ silent: true });
  let clock: FakeClock;
  let data: DataSide;
  let client: ReturnType<typeof leaseApi>['client'];

  beforeEach(() => {
    clock = new FakeClock();
    ({ client } = leaseApi());
    // Nobody is asked: it connects when it starts.
    data = newTestDataSide({ uri: 'mongodb://127.0.0.1:1' }, client, logger, clock);
  });
  afterEach(() => data.stop());

  function electionOf(identity: string, story: string[], onStopped = async () => {}) {
    const election = new LeaderElection(
      { namespace: 'sluice', name: 'operator', identity },
      {
        client,
        clock,
        random: steadyRandom,
        onStarted: () => story.push(`${identity} leads after ${clock.now()} ms`),
        onStopped,
        onError: (error) => story.push(String(error)),
      },
    );
    election.start();
    return election;
  }

  it('does so when the database has not taken its last rows in time', async () => {
    const coordinator = data.coordinator as Coordinator;
    vi.spyOn(coordinator, 'flush').mockReturnValue(new Promise(() => {}));
    const story: string[] = [];
    const first = electionOf('first', story, () => data.flush());
    await clock.advance(0);
    const next = electionOf('next', story);
    await clock.advance(0);
    const stopped = first.stop();
    await clock.advance(4_000);
    await stopped;
    await next.stop();
    expect(story).toHaveLength(2);
    expect(story[0]).toBe('first leads after 0 ms');
    expect(story[1]).toMatch(/^next leads after [23]\d{3} ms$/);
  });

  it('waits no longer for rows that are written, and says what else fails', async () => {
    const flush = vi.spyOn(data.coordinator as Coordinator, 'flush').mockResolvedValue();
    await expect(data.flush()).resolves.toBeUndefined();
    flush.mockRejectedValue(new Error('a bug'));
    await expect(data.flush()).rejects.toThrow('a bug');
  });
});
