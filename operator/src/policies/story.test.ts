import { describe, expect, it } from 'vitest';
import { aProgress, aRecord, aReport } from '../testing/objects.ts';
import { aFailedReport, aReadyReport, aStatusInput, aTarget } from '../testing/statusInput.ts';
import { distributionStatus, sameStatus } from './distributionStatus.ts';
import { distributionEvents } from './story.ts';

describe('the story', () => {
  it('has one event for each change and none when nothing changed', () => {
    const first = distributionStatus(aStatusInput());
    expect(distributionEvents(undefined, first).map((event) => event.reason)).toEqual([
      'EpochStarted',
    ]);
    const same = distributionStatus(aStatusInput({ previous: first, now: 'later' }));
    expect(sameStatus(first, same)).toBe(true);
    const progress = aProgress([aReadyReport('n1'), aFailedReport('n2', 'DiskFull')]);
    const broken = distributionStatus(aStatusInput({ previous: first, progress }));
    expect(distributionEvents(first, broken)).toMatchObject([
      { type: 'Warning', reason: 'DiskFull', action: 'Deliver' },
    ]);
    expect(distributionEvents(broken, broken)).toEqual([]);
    const done = distributionStatus(
      aStatusInput({
        previous: broken,
        progress: aProgress([aReadyReport('n1'), aReadyReport('n2')]),
      }),
    );
    expect(distributionEvents(broken, done)).toMatchObject([
      { type: 'Normal', reason: 'Delivered', note: '2 of 2 nodes ready' },
    ]);
  });
});

describe('the story of many nodes', () => {
  it('is one event a reason, however many have it', () => {
    const names = Array.from({ length: 8 }, (_, index) => `n${index}`);
    const nodes = names.map((name) => aTarget(name));
    const before = distributionStatus(aStatusInput({ nodes, progress: aProgress([]) }));
    const progress = aProgress([
      ...names.slice(0, 6).map((name) => aFailedReport(name, 'DiskFull')),
      aFailedReport('n6', 'DiskReadOnly'),
      aReport('n7'),
    ]);
    const events = distributionEvents(
      before,
      distributionStatus(aStatusInput({ nodes, progress })),
    );
    expect(events.map(({ reason }) => reason)).toEqual(['DiskFull', 'DiskReadOnly']);
    expect(events[0]?.note).toMatch(/^n0, n1, n2 and 3 more: because; free space/);
  });

  it.each([
    ['for the reason of all', ['DiskFull', 'DiskFull'], ['DiskFull']],
    ['for one that is told as another', ['DiskPressure', 'DiskPressure'], ['DiskFull']],
    ['for one that has no condition', ['DiskReadOnly', 'DiskReadOnly'], ['NodesFailed']],
    [
      'for several, of which the condition names one',
      ['DiskReadOnly', 'DiskFailed'],
      ['NodesFailed', 'DiskReadOnly', 'DiskFailed'],
    ],
  ])('is told once when all fail in one turn %s', (_case, reasons, told) => {
    const nodes = reasons.map((_reason, at) => aTarget(`n${at}`));
    const before = distributionStatus(aStatusInput({ nodes, progress: aProgress([]) }));
    const progress = aProgress(reasons.map((reason, at) => aFailedReport(`n${at}`, reason)));
    const after = distributionStatus(aStatusInput({ nodes, progress }));
    expect(distributionEvents(before, after).map(({ reason }) => reason)).toEqual(told);
  });

  it('tells when it is suspended and when it goes on', () => {
    const running = distributionStatus(aStatusInput());
    const suspended = distributionStatus(
      aStatusInput({ verdict: { action: 'suspend', record: aRecord() } }),
    );
    expect(distributionEvents(running, suspended)).toMatchObject([{ reason: 'Suspended' }]);
    expect(distributionEvents(suspended, running)).toMatchObject([{ reason: 'Resumed' }]);
  });
});
