import { describe, expect, it } from 'vitest';
import type { LeaseAnswer, LeaseRequest } from '../messages.ts';
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
