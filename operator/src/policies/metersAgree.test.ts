import { describe, expect, it } from 'vitest';
import type { MeterDisagreement } from '../controllers/dataSide.ts';
import { metersAgree } from './metersAgree.ts';

const MIB = 2 ** 20;

function of(change: Partial<MeterDisagreement> = {}): MeterDisagreement {
  return {
    holder: 'relay r-1 on node n',
    reason: 'UseUnderstated',
    reportedBytes: MIB,
    otherBytes: 3 * MIB,
    atMs: 0,
    ...change,
  };
}

describe('the condition MetersAgree', () => {
  it.each<[string, MeterDisagreement[], string, string]>([
    ['nobody', [], 'MetersAgree', 'agrees with what the origin has answered'],
    [
      'one who reports too little',
      [of()],
      'UseUnderstated',
      'relay r-1 on node n reports 1 MiB used under a lease, and has 3 MiB by its other meters. The higher is charged. Of the first: it counts wrong',
    ],
    [
      'one whose sockets read what no answer names',
      [of({ reason: 'MetersApart', reportedBytes: 3 * MIB, otherBytes: MIB })],
      'MetersApart',
      'the sockets of relay r-1 on node n have read 3 MiB under a lease, where the answers of the origin say 1 MiB',
    ],
    [
      'one who used more than he was granted',
      [of({ reason: 'UseOverGrant', reportedBytes: 3 * MIB, otherBytes: 2 * MIB })],
      'UseOverGrant',
      'relay r-1 on node n has used 3 MiB of a lease for 2 MiB. The higher is charged. Of the first: the origin has sent more',
    ],
    [
      'many, of whom some are named, the latest first',
      Array.from({ length: 5 }, (_, at) => of({ holder: `relay r-${at}` })),
      'UseUnderstated',
      'relay r-2 reports 1 MiB used under a lease, and has 3 MiB by its other meters; and 2 more.',
    ],
  ])('names %s', (_name, disagreements, reason, message) => {
    const condition = metersAgree(disagreements);
    expect(condition.status).toBe(disagreements.length === 0 ? 'True' : 'False');
    expect(condition.reason).toBe(reason);
    expect(condition.message).toContain(message);
  });
});
