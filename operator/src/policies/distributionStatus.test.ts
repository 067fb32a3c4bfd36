import { describe, expect, it } from 'vitest';
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import { aProgress, aRecord, aReport } from '../testing/objects.ts';
import { distributionStatus, type StatusInput, sameStatus } from './distributionStatus.ts';
import { distributionEvents } from './story.ts';

const NOW = '2026-01-01T00:10:00Z';

function target(name: string, unschedulable = false) {
  return { name, domain: 'a', unschedulable };
}

function input(overrides: Partial<StatusInput> = {}): StatusInput {
  const record = aRecord();
  return {
    generation: 3,
    previous: undefined,
    verdict: { action: 'serve', record },
    record,
    recordIsCurrent: true,
    failure: undefined,
    sourceChanged: false,
    nodes: [target('n1'), target('n2')],
    progress: aProgress([aReport('n1'), aReport('n2')]),
    relays: [{ domain: 'a', desired: 1, available: 1 }],
    idleForMs: 0,
    progressDeadlineSeconds: 600,
    now: NOW,
    ...overrides,
  };
}

/** `Type=Status/Reason` of each condition. */
function conditions(status: DistributionStatus): string[] {
  return (status.conditions ?? []).map(
    ({ type, status: value, reason }) => `${type}=${value}/${reason}`,
  );
}

const ready = (name: string) =>
  aReport(name, {
    state: 'ready',
    verifiedBytes: 1000,
    received: { fromPeers: 750, fromRelays: 200, fromRelayHttp: 50, fromOrigin: 0 },
  });

const failed = (name: string, reason: string) =>
  aReport(name, { state: 'failed', error: { reason, message: 'because' } });

describe('the conditions', () => {
  it('say Reconciling while nodes receive', () => {
    expect(conditions(distributionStatus(input()))).toEqual([
      'Ready=False/Transferring',
      'Reconciling=True/Transferring',
      'SourceResolved=True/Resolved',
      'RelaysAvailable=True/RelaysReady',
    ]);
  });

  it('say Ready, and nothing else in the way, when every node is', () => {
    const progress = aProgress([ready('n1'), ready('n2')]);
    expect(conditions(distributionStatus(input({ progress, relays: [] })))).toEqual([
      'Ready=True/Delivered',
      'SourceResolved=True/Resolved',
      'RelaysAvailable=True/RelaysNotNeeded',
    ]);
  });

  it('stay Ready for the generation while a node that joined is served', () => {
    const progress = aProgress([ready('n1'), ready('n2')]);
    const previous = distributionStatus(input({ progress }));
    const nodes = [target('n1'), target('n2'), target('n3')];
    const later = distributionStatus(input({ previous, nodes, progress, now: 'later' }));
    expect(conditions(later)[0]).toBe('Ready=True/Delivered');
    expect(later.conditions?.[0]?.lastTransitionTime).toBe(NOW);
    expect(later.completionTime).toBe(NOW);
    const edited = distributionStatus(input({ previous, nodes, progress, generation: 4 }));
    expect(conditions(edited)[0]).toBe('Ready=False/Transferring');
  });

  it('do not wait for a cordoned node', () => {
    const progress = aProgress([ready('n1'), aReport('n2')]);
    const nodes = [target('n1'), target('n2', true)];
    const status = distributionStatus(input({ progress, nodes }));
    expect(conditions(status)[0]).toBe('Ready=True/Delivered');
    expect(status.summary?.nodes).toBe('1/1');
  });

  it('do not count what was reported of another epoch', () => {
    const progress = aProgress([ready('n1'), ready('n2')], { epoch: 0 });
    const status = distributionStatus(input({ progress }));
    expect(status.nodes).toMatchObject({ desired: 2, ready: 0, pending: 2 });
  });

  it.each<[string, Partial<StatusInput>, string[]]>([
    [
      'stall when the only nodes left have failed',
      { progress: aProgress([ready('n1'), failed('n2', 'DiskFull')]) },
      ['Ready=False/NodesFailed', 'Stalled=True/NodesFailed'],
    ],
    [
      'name a wrong digest',
      { progress: aProgress([failed('n1', 'DigestMismatch'), failed('n2', 'DigestMismatch')]) },
      ['Ready=False/DigestMismatch', 'Stalled=True/DigestMismatch'],
    ],
    [
      'stall when no byte moved in time',
      { idleForMs: 600_001 },
      ['Ready=False/ProgressDeadlineExceeded', 'Stalled=True/ProgressDeadlineExceeded'],
    ],
    [
      'stall on a file that is not there',
      {
        verdict: { action: 'resolve', serve: undefined },
        record: undefined,
        recordIsCurrent: false,
        failure: { reason: 'SourceNotFound', kind: 'stall', message: '404' },
      },
      [
        'Ready=False/SourceNotFound',
        'Stalled=True/SourceNotFound',
        'SourceResolved=False/SourceNotFound',
      ],
    ],
    [
      'go on reconciling on an origin that fails',
      {
        verdict: { action: 'resolve', serve: undefined },
        record: undefined,
        recordIsCurrent: false,
        failure: { reason: 'SourceUnavailable', kind: 'retry', message: '500' },
      },
      [
        'Ready=False/SourceUnavailable',
        'Reconciling=True/SourceUnavailable',
        'SourceResolved=False/SourceUnavailable',
      ],
    ],
    [
      'say that it is suspended',
      { verdict: { action: 'suspend', record: aRecord() } },
      ['Ready=False/Suspended', 'SourceResolved=True/Resolved'],
    ],
    [
      'say that nothing matches',
      { nodes: [], progress: aProgress([]) },
      ['Ready=True/NoNodesMatch'],
    ],
    [
      'say which relays are missing',
      { relays: [{ domain: 'a', desired: 1, available: 0, missingForMs: 30_001 }] },
      ['RelaysAvailable=False/RelaysMissing'],
    ],
  ])('%s', (_name, overrides, expected) => {
    expect(conditions(distributionStatus(input(overrides)))).toEqual(
      expect.arrayContaining(expected),
    );
  });
});

describe('the columns', () => {
  it('tell size, progress, share of peers, rate and time left', () => {
    const half = aReport('n2', {
      verifiedBytes: 500,
      rateBytesPerSecond: 50,
      received: { fromPeers: 250, fromRelays: 250, fromRelayHttp: 0, fromOrigin: 0 },
    });
    const progress = aProgress([ready('n1'), half], { originBytes: 1000 });
    const status = distributionStatus(input({ progress }));
    expect(status.summary).toEqual({
      nodes: '1/2',
      size: '1000 B',
      progress: '75%',
      peers: '66%',
      rate: '50 B/s',
      eta: '10s',
    });
    expect(status.bytes).toEqual({
      delivered: 1500,
      fromPeers: 1000,
      fromRelays: 500,
      fromOrigin: 1000,
    });
  });

  it('tell the progress of a file of 0 bytes by its nodes', () => {
    const record = aRecord({ source: { sizeBytes: 0, validator: {}, ranges: false } });
    const progress = aProgress([aReport('n1', { state: 'ready' }), aReport('n2')]);
    const status = distributionStatus(input({ record, progress }));
    expect(status.summary?.progress).toBe('50%');
  });
});

describe('failed nodes', () => {
  it('are named, the first ten', () => {
    const names = Array.from({ length: 12 }, (_, index) => `n${String(index).padStart(2, '0')}`);
    const status = distributionStatus(
      input({
        nodes: names.map((name) => target(name)),
        progress: aProgress(names.map((name) => failed(name, 'DiskFull'))),
      }),
    );
    expect(status.failedNodes).toHaveLength(10);
    expect(status.nodes?.failed).toBe(12);
    expect(status.failedNodes?.[0]).toEqual({
      name: 'n00',
      reason: 'DiskFull',
      message: 'because',
    });
  });
});

describe('the story', () => {
  it('has one event for each change and none when nothing changed', () => {
    const first = distributionStatus(input());
    expect(distributionEvents(undefined, first).map((event) => event.reason)).toEqual([
      'EpochStarted',
    ]);
    const same = distributionStatus(input({ previous: first, now: 'later' }));
    expect(sameStatus(first, same)).toBe(true);
    const progress = aProgress([ready('n1'), failed('n2', 'DiskFull')]);
    const broken = distributionStatus(input({ previous: first, progress }));
    expect(distributionEvents(first, broken)).toMatchObject([
      { type: 'Warning', reason: 'NodesFailed' },
      { type: 'Warning', reason: 'DiskFull', note: 'n2: because' },
    ]);
    expect(distributionEvents(broken, broken)).toEqual([]);
    const done = distributionStatus(
      input({ previous: broken, progress: aProgress([ready('n1'), ready('n2')]) }),
    );
    expect(distributionEvents(broken, done)).toMatchObject([
      { type: 'Normal', reason: 'Delivered', note: '2 of 2 nodes ready' },
    ]);
  });
});
