import { describe, expect, it } from 'vitest';
import { aReport } from '../testing/objects.ts';
import { aTarget } from '../testing/statusInput.ts';
import { absentNodes } from './absentNodes.ts';

function reports(...list: ReturnType<typeof aReport>[]) {
  return new Map(list.map((report) => [report.name, report]));
}

const withoutAgent = (name: string) => aReport(name, { state: 'pending', connected: false });

describe('nodes that lack the file for a reason of their own', () => {
  it('are named with it', () => {
    const nodes = [
      aTarget('n1', { unschedulable: true }),
      aTarget('n2', { notReady: true }),
      aTarget('n3'),
      aTarget('n4'),
    ];
    const known = reports(withoutAgent('n1'), withoutAgent('n3'), aReport('n4'));
    expect(absentNodes(nodes, known)).toBe(
      '; not waited for: n1 (cordoned), n2 (not ready); NoAgent: no agent runs on n3',
    );
  });

  it('are not named when they have it, or are on their way', () => {
    const ready = aReport('n1', { state: 'ready', connected: false });
    const nodes = [aTarget('n1', { unschedulable: true }), aTarget('n2')];
    expect(absentNodes(nodes, reports(ready, aReport('n2', { state: 'pending' })))).toBe('');
  });

  it('are counted from the sixth on', () => {
    const names = Array.from({ length: 7 }, (_, at) => `n${at}`);
    const text = absentNodes(
      names.map((name) => aTarget(name)),
      reports(...names.map(withoutAgent)),
    );
    expect(text).toBe('; NoAgent: no agent runs on n0, n1, n2, n3, n4 and 2 more');
  });
});
