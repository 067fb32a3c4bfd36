import { describe, expect, it } from 'vitest';
import { aReport } from '../testing/objects.ts';
import { commonReason, worstNodes } from './nodeFailures.ts';

const failed = (name: string, reason: string, verifiedBytes = 0) =>
  aReport(name, { state: 'failed', verifiedBytes, error: { reason, message: 'because' } });
const nobody = () => undefined;

describe('the worst nodes', () => {
  it('are those that need a person, then those that have least, then by name', () => {
    const nodes = [
      failed('d', 'TransferFailed'),
      failed('c', 'DiskFull', 10),
      failed('b', 'DiskFull'),
      failed('a', 'DiskFull'),
      aReport('e'),
    ];
    expect(worstNodes(nodes, nobody).map(({ name }) => name)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('are ten', () => {
    const nodes = Array.from({ length: 12 }, (_, at) => failed(`n${at}`, 'DiskFull'));
    expect(worstNodes(nodes, nobody)).toHaveLength(10);
  });

  it.each([
    ['DiskFull', /^because; free space/],
    ['DigestMismatch', /^because; correct the digest .* spec.source.url .* apply it again$/],
    ['DiskReadOnly', /^because; mount/],
    ['PathConflict', /^because; move it away/],
    ['DiskPressure', /^because; free space .* agent.minFreePercent/],
    ['NamespaceShareExceeded', /^because; delete Distributions .* agent.namespaceShares/],
    ['Whatever', /^because; the node tries again/],
  ])('have a remedy for %s', (reason, message) => {
    expect(worstNodes([failed('a', reason)], nobody)[0]).toMatchObject({
      reason,
      message: expect.stringMatching(message),
    });
  });

  it('keep the remedy whole when a node says much', () => {
    const error = { reason: 'DiskFull', message: 'x'.repeat(2000) };
    const [node] = worstNodes([aReport('a', { state: 'failed', error })], nobody);
    expect(node?.message).toHaveLength(1024);
    expect(node?.message).toMatch(/; free space/);
  });

  it('are named NoAgent when nothing is connected there', () => {
    const nodes = [aReport('a', { connected: false }), aReport('b'), failed('c', 'DiskFull')];
    const said = worstNodes(nodes, () => 'its agent is not connected');
    expect(said.map(({ name, reason }) => [name, reason])).toEqual([
      ['a', 'NoAgent'],
      ['c', 'DiskFull'],
    ]);
  });
});

describe('what failed nodes have in common', () => {
  it.each([
    [['DiskFull', 'DiskFull'], 'DiskFull'],
    [['DigestMismatch'], 'DigestMismatch'],
    [['NamespaceShareExceeded', 'NamespaceShareExceeded'], 'NamespaceShareExceeded'],
    [['NamespaceShareExceeded', 'DiskPressure'], 'NodesFailed'],
    [['DiskFull', 'DiskPressure'], 'DiskFull'],
    [['DiskFull', 'DigestMismatch'], 'NodesFailed'],
    [['DiskFailed', 'DiskFailed'], 'NodesFailed'],
  ])('of %j is %s', (reasons, reason) => {
    expect(commonReason(reasons.map((each, at) => failed(`n${at}`, each)))).toBe(reason);
  });
});
