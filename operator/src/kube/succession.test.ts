import { describe, expect, it } from 'vitest';
import { FakeClock, steadyRandom } from '../testing/fakeClock.ts';
import { leaseApi } from '../testing/leaseApi.ts';
import { type KubeClient, KubeError, type KubeRequest } from './client.ts';
import { type Candidacy, LeaderElection } from './leaderElection.ts';
import { listPath, resources } from './paths.ts';
import { Succession } from './succession.ts';

const MINUTE_MS = 60_000;

/** Replicas of an operator whose databases a test takes away, each started a moment after the other. */
function operatorWith(...names: readonly string[]) {
  const { client } = leaseApi();
  const clock = new FakeClock();
  const story: string[] = [];
  let isAway = false;
  const replicas = new Map(names.map((name) => [name, replica(name)]));

  function replica(identity: string) {
    let awaySinceMs: number | undefined;
    let isKilled = false;
    const request = (call: KubeRequest) => {
      if (isKilled) return new Promise(() => {});
      if (isAway) return Promise.reject(new KubeError('Unreachable', 0, 'it is away'));
      return client.request(call);
    };
    const candidacy = (): Candidacy => {
      if (awaySinceMs !== undefined) return 'late';
      return succession.isSecond ? 'second' : 'now';
    };
    const onError = (error: unknown) => story.push(String(error));
    const deps = { client: { request } as KubeClient, clock, random: steadyRandom, onError };
    const election = new LeaderElection(
      { namespace: 'sluice', name: 'leader', identity },
      {
        ...deps,
        candidacy,
        onStarted: () => story.push(`${identity} leads`),
        onStopped: () => {},
      },
    );
    const end = () => Promise.all([succession.stop(), election.stop()]);
    const succession = new Succession(
      { namespace: 'sluice', name: 'next', identity },
      {
        ...deps,
        isLeader: () => election.isLeader,
        couldLead: () => awaySinceMs === undefined,
        awaySinceMs: () => awaySinceMs,
        onStandBack: (successor) => {
          story.push(`${identity} stands back for ${successor} at ${clock.now()} ms`);
          void end();
        },
      },
    );
    return {
      start: () => {
        election.start();
        succession.start();
      },
      end,
      next: () => succession.next,
      isSecond: () => succession.isSecond,
      /** Gives nothing back. */
      kill: () => {
        isKilled = true;
      },
      hasDatabase: (has: boolean) => {
        awaySinceMs = has ? undefined : (awaySinceMs ?? clock.now());
      },
    };
  }

  const of = (name: string) => replicas.get(name)!;
  const start = async () => {
    for (const name of names) {
      of(name).start();
      await clock.advance(100);
    }
    await clock.advance(MINUTE_MS - 100 * names.length);
  };
  /** The API server, by all of them. */
  const reach = (isThere: boolean) => {
    isAway = !isThere;
  };
  return { client, clock, story, of, start, reach };
}

describe('a leader whose database is away', () => {
  it('stands back for a replica that has it, once, half a minute later', async () => {
    const { clock, story, of, start } = operatorWith('one', 'two', 'three');
    await start();
    expect(story).toEqual(['one leads']);
    of('one').hasDatabase(false);
    await clock.advance(29_000);
    expect(story).toEqual(['one leads']);
    await clock.advance(8_000);
    expect(story[1]).toMatch(/^one stands back for (two|three) at 9[0-6]\d{3} ms$/);
    expect(story[2]).toMatch(/^(two|three) leads$/);
    await clock.advance(10 * MINUTE_MS);
    expect(story).toHaveLength(3);
  });

  it.each([['one'], ['one', 'two', 'three']])(
    'for all replicas (%s %s %s) leads on',
    async (...names) => {
      const { clock, story, of, start } = operatorWith(...names);
      await start();
      for (const name of names) of(name).hasDatabase(false);
      await clock.advance(60 * MINUTE_MS);
      expect(story).toEqual(['one leads']);
    },
  );

  it('leads on when it hears of it seconds after the others that the database is back', async () => {
    const { clock, story, of, start } = operatorWith('one', 'two');
    await start();
    for (let time = 0; time < 20; time += 1) {
      for (const name of ['two', 'one']) of(name).hasDatabase(false);
      await clock.advance(5 * MINUTE_MS + time * 500);
      of('two').hasDatabase(true);
      await clock.advance(9_000);
      of('one').hasDatabase(true);
      await clock.advance(MINUTE_MS);
    }
    expect(story).toEqual(['one leads']);
  });

  it('leads on beside the word of a replica that has died', async () => {
    const { client, clock, story, of, start } = operatorWith('one');
    await client.request({
      method: 'POST',
      path: listPath(resources.leases, 'sluice'),
      body: { metadata: { name: 'next' }, spec: { holderIdentity: 'dead' } },
    });
    await start();
    of('one').hasDatabase(false);
    await clock.advance(10 * MINUTE_MS);
    expect(story).toEqual(['one leads']);
  });

  it('leads on when the one that could lead has died meanwhile', async () => {
    const { clock, story, of, start } = operatorWith('one', 'two');
    await start();
    of('one').hasDatabase(false);
    await clock.advance(19_500);
    of('two').kill();
    await clock.advance(10 * MINUTE_MS);
    expect(story).toEqual(['one leads']);
  });

  it('stands back for one that comes later', async () => {
    const { clock, story, of, start } = operatorWith('one', 'two');
    of('two').hasDatabase(false);
    await start();
    of('one').hasDatabase(false);
    await clock.advance(5 * MINUTE_MS);
    expect(story).toEqual(['one leads']);
    of('two').hasDatabase(true);
    await clock.advance(MINUTE_MS);
    expect(story.slice(1)).toEqual([
      expect.stringMatching(/^one stands back for two/),
      'two leads',
    ]);
  });
});

describe('the replica that leads next', () => {
  const NAMES = ['one', 'two', 'three', 'four'];

  it('is known to all of them, and leads when the leader has gone', async () => {
    for (const goes of ['end', 'kill'] as const) {
      const { clock, story, of, start } = operatorWith(...NAMES);
      await start();
      const next = of('one').next()!;
      expect(['two', 'three', 'four']).toContain(next);
      const others = NAMES.filter((name) => name !== 'one' && name !== next);
      for (const name of others) expect(of(name).isSecond(), name).toBe(true);
      expect(of(next).isSecond(), next).toBe(false);
      of('one')[goes]();
      await clock.advance(12_000);
      expect(story.filter((line) => line.endsWith(' leads'))).toEqual([
        'one leads',
        `${next} leads`,
      ]);
      await clock.advance(MINUTE_MS);
      const after = of(next).next();
      expect(after, 'another one is the next').toBeDefined();
      expect([next, 'one']).not.toContain(after);
    }
  });

  it('is waited for no longer than two seconds where it has gone with the leader', async () => {
    const { clock, story, of, start } = operatorWith(...NAMES);
    await start();
    of(of('one').next()!).kill();
    of('one').kill();
    await clock.advance(13_000 + 100);
    expect(story).toHaveLength(2);
    expect(story[1]).toMatch(/ leads$/);
  });

  it('leads also after a while in which nobody could renew anything', async () => {
    const { clock, story, of, start, reach } = operatorWith(...NAMES);
    await start();
    const next = of('one').next();
    reach(false);
    await clock.advance(7_000);
    // It has lost its Lease, and ends.
    of('one').kill();
    await clock.advance(MINUTE_MS);
    reach(true);
    await clock.advance(3_000);
    expect(story.filter((line) => line.endsWith(' leads'))).toEqual(['one leads', `${next} leads`]);
  });

  it('leads also where another one has become ready a moment before', async () => {
    for (let beforeMs = 1_500; beforeMs <= 6_000; beforeMs += 500) {
      const { clock, story, of } = operatorWith(...NAMES);
      for (const name of ['one', 'two']) of(name).start();
      await clock.advance(MINUTE_MS);
      of('three').start();
      await clock.advance(beforeMs);
      of('one').end();
      await clock.advance(5_000);
      expect(story, `${beforeMs} ms before`).toEqual(['one leads', 'two leads']);
    }
  });

  it('is not known where it says nothing any more', async () => {
    const { clock, of, start } = operatorWith('one', 'two');
    await start();
    expect(of('one').next()).toBe('two');
    of('two').kill();
    await clock.advance(20_000);
    expect(of('one').next()).toBeUndefined();
  });
});
