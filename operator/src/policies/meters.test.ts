import { describe, expect, it } from 'vitest';
import { judgeUse } from './meters.ts';

const MIB = 2 ** 20;
const GRANTED = 10 * MIB;

function meters(socketBytes: number, answeredBytes = socketBytes, pieceBytes = answeredBytes) {
  return { socketBytes, answeredBytes, pieceBytes };
}

describe('what a holder reports of a lease', () => {
  it.each([
    ['all counts are the same', { usedBytes: MIB, meters: meters(MIB) }],
    ['more is charged than has come, for what is under way', { usedBytes: MIB, meters: meters(0) }],
    ['a process of an earlier version counts in one way', { usedBytes: MIB, meters: undefined }],
    [
      'framing that no answer names is within the tolerance of small leases',
      { usedBytes: MIB, meters: meters(MIB, MIB - 65_536) },
    ],
    ['and within that of large ones', { usedBytes: 10 * MIB, meters: meters(10 * MIB, 9.5 * MIB) }],
    [
      'heads are counted a little high',
      { usedBytes: MIB, meters: meters(MIB - 200, MIB, MIB / 2) },
    ],
    [
      'the last read brings a little more than was granted',
      { usedBytes: GRANTED + 131_072, meters: meters(GRANTED + 131_072) },
    ],
  ])('agrees where %s', (_name, report) => {
    const { disagreement, chargedBytes } = judgeUse({ ...report, isOver: true }, 0, GRANTED);
    expect(disagreement).toBeUndefined();
    expect(chargedBytes).toBe(report.usedBytes);
  });

  it.each([
    {
      what: 'pieces prove more than was reported',
      report: { usedBytes: MIB, meters: meters(MIB, MIB, 3 * MIB) },
      found: { reason: 'UseUnderstated', reportedBytes: MIB, otherBytes: 3 * MIB },
      charged: 3 * MIB,
    },
    {
      what: 'its sockets have read more than it reports',
      report: { usedBytes: MIB, meters: meters(2 * MIB) },
      found: { reason: 'UseUnderstated', reportedBytes: MIB, otherBytes: 2 * MIB },
      charged: 2 * MIB,
    },
    {
      what: 'it reports less than it has proven before',
      report: { usedBytes: MIB, meters: meters(MIB) },
      provenBytes: 4 * MIB,
      found: { reason: 'UseUnderstated', reportedBytes: MIB, otherBytes: 4 * MIB },
      charged: 4 * MIB,
    },
    {
      what: 'its sockets have read more than the answers say',
      report: { usedBytes: 4 * MIB, meters: meters(4 * MIB, 3 * MIB) },
      found: { reason: 'MetersApart', reportedBytes: 4 * MIB, otherBytes: 3 * MIB },
      charged: 4 * MIB,
    },
    {
      what: 'the answers say more than its sockets have read',
      report: { usedBytes: 4 * MIB, meters: meters(MIB, 4 * MIB, MIB) },
      found: { reason: 'MetersApart', reportedBytes: MIB, otherBytes: 4 * MIB },
      charged: 4 * MIB,
    },
    {
      what: 'it has used more than it was granted',
      report: { usedBytes: GRANTED + MIB, meters: meters(GRANTED) },
      found: { reason: 'UseOverGrant', reportedBytes: GRANTED + MIB, otherBytes: GRANTED },
      charged: GRANTED + MIB,
    },
  ])('is shown and charged high where $what', ({ report, provenBytes = 0, found, charged }) => {
    const verdict = judgeUse({ ...report, isOver: true }, provenBytes, GRANTED);
    expect(verdict).toEqual({ chargedBytes: charged, disagreement: found });
  });

  it('may charge more than was granted ahead, while answers are under way', () => {
    const report = { usedBytes: GRANTED + 4 * MIB, meters: meters(GRANTED) };
    const under = judgeUse({ ...report, isOver: false }, 0, GRANTED);
    expect(under.disagreement).toBeUndefined();
    const read = { usedBytes: GRANTED + 4 * MIB, meters: meters(GRANTED + MIB) };
    const over = judgeUse({ ...read, isOver: false }, 0, GRANTED);
    expect(over.disagreement).toMatchObject({
      reason: 'UseOverGrant',
      reportedBytes: GRANTED + MIB,
    });
  });
});
