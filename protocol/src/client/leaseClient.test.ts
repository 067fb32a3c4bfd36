import { describe, expect, it } from 'vitest';
import type { LeaseAnswer, LeaseRequest } from '../leaseMessages.ts';
import { ControlError } from './controlError.ts';
import { type LeaseAsk, LeaseClient } from './leaseClient.ts';
import { processClock } from './testing/processClock.ts';

const ACQUIRE: LeaseAsk = {
  op: 'acquire',
  uid: 'u',
  epoch: 1,
  wantRateBytesPerSecond: 1,
  wantConnections: 1,
};

const settleOf = (leaseId: string): LeaseAsk => {
  return { op: 'settle', leaseId, version: 1, usedBytes: 0, unfinished: [] };
};

function build(answers: (LeaseAnswer | ControlError)[]) {
  const asked: LeaseRequest[] = [];
  let sequence = 0;
  const client = new LeaseClient('incarnation', {
    clock: processClock,
    random: () => 0,
    nextSequence: () => {
      sequence += 1;
      return sequence;
    },
    post: async (request) => {
      asked.push(request);
      const answer = answers.shift() ?? { outcome: 'settled' };
      if (answer instanceof ControlError) throw answer;
      return answer;
    },
  });
  const { signal } = new AbortController();
  const lease = (ask: LeaseAsk) => client.lease(ask, 0, signal);
  const said = () => asked.map((each) => ('leaseId' in each ? each.leaseId : each.op));
  return { lease, asked, said };
}

const granted = (leaseId: string, uid: string, epoch = 1) => {
  const terms = { maxBytes: 1, rateBytesPerSecond: 1, slackBytes: 1, connections: 1, ttlMs: 1 };
  const grant = { leaseId, version: 1, uid, epoch, extents: [], ...terms };
  return { outcome: 'granted', grant } as const;
};

const away = () => new ControlError('Unreachable', 'nobody is there');

describe('the leases of a process', () => {
  it('are asked for in its name, each time with a sequence of its own', async () => {
    const { lease, asked } = build([]);
    await lease(ACQUIRE);
    await lease(settleOf('a'));
    expect(asked).toMatchObject([
      { op: 'acquire', incarnation: 'incarnation', sequence: 1 },
      { op: 'settle', incarnation: 'incarnation', sequence: 2 },
    ]);
  });

  it('are acquired only after the ends of earlier ones were heard', async () => {
    const { lease, said } = build([away(), away(), away()]);
    await expect(lease(settleOf('a'))).rejects.toThrow('nobody is there');
    await expect(lease(settleOf('b'))).rejects.toThrow('nobody is there');
    await expect(lease(ACQUIRE)).rejects.toThrow('nobody is there');
    expect(said()).toEqual(['a', 'b', 'a']);
    await lease(ACQUIRE);
    expect(said().slice(3)).toEqual(['a', 'b', 'acquire']);
    await lease(ACQUIRE);
    expect(said().slice(6)).toEqual(['acquire']);
  });

  it('are acquired for one epoch while the end of another one cannot be heard', async () => {
    const others = [granted('a', 'v'), granted('b', 'u', 2)];
    const { lease, said } = build([...others, away(), away(), away(), away()]);
    await lease({ ...ACQUIRE, uid: 'v' });
    await lease({ ...ACQUIRE, epoch: 2 });
    for (const leaseId of ['a', 'b']) {
      await expect(lease(settleOf(leaseId))).rejects.toThrow('nobody is there');
    }
    expect(said().splice(2)).toEqual(['a', 'b']);
    expect(await lease(ACQUIRE)).toMatchObject({ answer: { outcome: 'settled' } });
    // They are told all the same, beside it.
    expect(said().splice(4)).toEqual(['a', 'b', 'acquire']);
    await lease({ ...ACQUIRE, uid: 'v' });
    expect(said().splice(7)).toEqual(['a', 'b', 'acquire']);
    await lease({ ...ACQUIRE, uid: 'v' });
    expect(said().splice(10)).toEqual(['acquire']);
  });

  it('wait for an end of their own epoch, also while it is told beside others', async () => {
    const { lease, said } = build([granted('a', 'v'), away(), away(), away()]);
    await lease({ ...ACQUIRE, uid: 'v' });
    await expect(lease(settleOf('a'))).rejects.toThrow('nobody is there');
    const other = lease(ACQUIRE);
    await expect(lease({ ...ACQUIRE, uid: 'v' })).rejects.toThrow('nobody is there');
    await other;
    expect(said().splice(1).sort()).toEqual(['a', 'a', 'a', 'acquire']);
  });

  it('tell an end once at a time beside what is acquired', async () => {
    const { lease, said } = build([granted('a', 'v'), away(), away()]);
    await lease({ ...ACQUIRE, uid: 'v' });
    await expect(lease(settleOf('a'))).rejects.toThrow('nobody is there');
    await Promise.all([lease(ACQUIRE), lease(ACQUIRE), lease(ACQUIRE)]);
    expect(said().splice(2)).toEqual(['a', 'acquire', 'acquire', 'acquire']);
  });

  it('do not wait for an end that is being told', async () => {
    const { lease, said } = build([]);
    await Promise.all([lease(settleOf('a')), lease(ACQUIRE)]);
    expect(said()).toEqual(['a', 'acquire']);
  });

  it('are not held up by an end that the server refuses to hear', async () => {
    const { lease, said } = build([new ControlError('Refused', 'no')]);
    await expect(lease(settleOf('a'))).rejects.toThrow('no');
    await lease(ACQUIRE);
    expect(said()).toEqual(['a', 'acquire']);
  });
});
