import { describe, expect, it } from 'vitest';
import type { DistributionStatus } from '../api/v1alpha1/distribution.ts';
import type { DistributionProgress, NodeProgress } from '../controllers/dataSide.ts';
import { aProgress, aRecord, aReport, troubles } from '../testing/objects.ts';
import { aFailedReport, aReadyReport, aStatusInput, aTarget } from '../testing/statusInput.ts';
import { distributionStatus, type StatusInput } from './distributionStatus.ts';
import { FAILURES, type FailureReason } from './failures.ts';
import { distributionEvents } from './story.ts';

const NOW = '2026-01-01T00:10:00Z';

/** `Type=Status/Reason` of each condition. */
function conditions(status: DistributionStatus): string[] {
  return (status.conditions ?? []).map(
    ({ type, status: value, reason }) => `${type}=${value}/${reason}`,
  );
}

const open = [aReport('n1'), aReport('n2')];
const gone = open.map((node) => ({ ...node, connected: false }));
const quotaExhausted = { code: 'QuotaExhausted', message: 'used up', untilMs: 1 } as const;

describe('the conditions', () => {
  it('say Reconciling while nodes receive', () => {
    expect(conditions(distributionStatus(aStatusInput()))).toEqual([
      'Ready=False/Transferring',
      'Reconciling=True/Transferring',
      'SourceResolved=True/Resolved',
      'RelaysAvailable=True/RelaysReady',
    ]);
  });

  it('say Ready, and nothing else in the way, when every node is', () => {
    const progress = aProgress([aReadyReport('n1'), aReadyReport('n2')]);
    expect(conditions(distributionStatus(aStatusInput({ progress, relays: [] })))).toEqual([
      'Ready=True/Delivered',
      'SourceResolved=True/Resolved',
      'RelaysAvailable=True/RelaysNotNeeded',
    ]);
  });

  it('do not say that nobody waits when those that wait have no agent', () => {
    const progress = aProgress([aReadyReport('n1'), aReport('n2', { connected: false })]);
    const status = distributionStatus(aStatusInput({ progress, relays: [] }));
    expect(status.conditions?.find(({ type }) => type === 'RelaysAvailable')).toMatchObject({
      reason: 'RelaysNotNeeded',
      message: 'no node with an agent waits for bytes',
    });
  });

  it('say Ready when so many are missing as maxUnready allows, and no more', () => {
    const nodes = ['n1', 'n2', 'n3', 'n4'].map((name) => aTarget(name));
    const with2 = aProgress([
      aReadyReport('n1'),
      aReadyReport('n2'),
      aReport('n3'),
      aFailedReport('n4', 'DiskFull'),
    ]);
    const say = (maxUnready: number | string) =>
      conditions(distributionStatus(aStatusInput({ nodes, progress: with2, maxUnready })))[0];
    expect(say(1)).toBe('Ready=False/Transferring');
    expect(say(2)).toBe('Ready=True/Delivered');
    expect(say('50%')).toBe('Ready=True/Delivered');
    expect(say('49%')).toBe('Ready=False/Transferring');
  });

  it.each([2, 5, '100%'])('wait for one node at least when maxUnready is %s', (maxUnready) => {
    const say = (first: NodeProgress) => {
      const progress = aProgress([first, aReport('n2')]);
      return conditions(distributionStatus(aStatusInput({ progress, maxUnready })))[0];
    };
    expect(say(aReport('n1'))).toBe('Ready=False/Transferring');
    expect(say(aReadyReport('n1'))).toBe('Ready=True/Delivered');
  });

  it('tell where to look when nothing tells why no byte moved', () => {
    const say = (progress: DistributionProgress) =>
      distributionStatus(aStatusInput({ progress, idleForMs: 600_001 })).conditions?.[0]?.message;
    const whereToLook =
      "see the condition RelaysAvailable, status.failedNodes, `kubectl get origins`, and the logs of relays and agents in the operator's namespace";
    expect(say(aProgress([]))).toBe(`no byte moved for 10m; 0 of 2 nodes ready; ${whereToLook}`);
    expect(say(aProgress([aFailedReport('n1', 'DiskFull'), aReport('n2')]))).toBe(
      `no byte moved for 10m; 0 of 2 nodes ready, 1 failed; n1: DiskFull: because; ${whereToLook}`,
    );
  });

  it('do not wait for a node that is cordoned or not ready, and name it', () => {
    const nodes = [
      aTarget('n1'),
      aTarget('n2', { unschedulable: true }),
      aTarget('n3', { notReady: true }),
    ];
    const progress = aProgress([aReadyReport('n1')]);
    const status = distributionStatus(aStatusInput({ nodes, progress }));
    expect(conditions(status)[0]).toBe('Ready=True/Delivered');
    expect(status.conditions?.[0]?.message).toBe(
      '1 of 1 nodes ready; not waited for: n2 (cordoned), n3 (not ready)',
    );
  });

  const cordoned = aTarget('n2', { unschedulable: true });
  it.each([
    ['all others failed', { progress: aProgress([aFailedReport('n1', 'DiskFull')]) }],
    ['nothing moves', { progress: aProgress([aReport('n1')], { pull: quotaExhausted }) }],
    ['nobody is waited for', { nodes: [cordoned] }],
  ])('end with what to do, after the names of nodes, when %s', (_, overrides) => {
    const nodes = [aTarget('n1'), cordoned];
    const status = distributionStatus(aStatusInput({ nodes, idleForMs: 5_000, ...overrides }));
    const { reason, message } = status.conditions![0]!;
    expect(message).toContain('; not waited for: n2 (cordoned)');
    expect(message.split('; ').at(-1)).toBe(FAILURES[reason as FailureReason].remedy);
  });

  it('stay Ready for the generation while a node that joined is served', () => {
    const progress = aProgress([aReadyReport('n1'), aReadyReport('n2')]);
    const previous = distributionStatus(aStatusInput({ progress }));
    const nodes = [aTarget('n1'), aTarget('n2'), aTarget('n3')];
    const later = distributionStatus(aStatusInput({ previous, nodes, progress, now: 'later' }));
    expect(conditions(later)[0]).toBe('Ready=True/Delivered');
    expect(later.conditions?.[0]?.lastTransitionTime).toBe(NOW);
    expect(later.completionTime).toBe(NOW);
    const edited = distributionStatus(aStatusInput({ previous, nodes, progress, generation: 4 }));
    expect(conditions(edited)[0]).toBe('Ready=False/Transferring');
  });

  it.each([
    [
      'fails',
      aFailedReport('n3', 'DiskFull'),
      0,
      '2 of 3 nodes ready, 1 failed; n3: DiskFull: because',
    ],
    [
      'has no agent',
      aReport('n3', { state: 'pending', connected: false }),
      700_000,
      '2 of 3 nodes ready, 1 unreachable; NoAgent: no agent runs on n3; nodes that joined later are being served',
    ],
  ])(
    'stay Ready for the generation while a node that joined %s',
    (_case, late, idleForMs, told) => {
      const before = aProgress([aReadyReport('n1'), aReadyReport('n2')]);
      const previous = distributionStatus(aStatusInput({ progress: before }));
      const nodes = [aTarget('n1'), aTarget('n2'), aTarget('n3')];
      const progress = aProgress([...before.nodes, late]);
      const status = distributionStatus(aStatusInput({ previous, nodes, progress, idleForMs }));
      const [first, second] = status.conditions ?? [];
      expect(first).toMatchObject({ type: 'Ready', status: 'True', message: told });
      expect(second?.type).toBe('SourceResolved');
      expect(status.failedNodes).toMatchObject([{ name: 'n3' }]);
      expect(distributionEvents(previous, status)).toMatchObject([{ type: 'Warning' }]);
    },
  );

  it('do not stay Ready when nobody has it any more and a node has failed', () => {
    const previous = distributionStatus(
      aStatusInput({ progress: aProgress([aReadyReport('n1'), aReadyReport('n2')]) }),
    );
    const progress = aProgress([aFailedReport('n1', 'DiskFull'), aFailedReport('n2', 'DiskFull')]);
    const status = distributionStatus(aStatusInput({ previous, progress }));
    expect(conditions(status)[0]).toBe('Ready=False/DiskFull');
  });

  it.each([
    ['receive it', [aReport('n1'), aReport('n2')]],
    ['are others than had it', []],
  ])('do not stay Ready when nobody has it any more and those that lack it %s', (_case, nodes) => {
    const previous = distributionStatus(
      aStatusInput({ progress: aProgress([aReadyReport('n1'), aReadyReport('n2')]) }),
    );
    const status = distributionStatus(aStatusInput({ previous, progress: aProgress(nodes) }));
    expect(conditions(status).slice(0, 2)).toEqual([
      'Ready=False/Transferring',
      'Reconciling=True/Transferring',
    ]);
  });

  it('stay Ready for the generation when all that have joined since are not ready', () => {
    const progress = aProgress([aReadyReport('n1'), aReadyReport('n2')]);
    const previous = distributionStatus(aStatusInput({ progress }));
    const nodes = [aTarget('n3', { notReady: true })];
    const status = distributionStatus(aStatusInput({ previous, nodes, progress }));
    expect(conditions(status)[0]).toBe('Ready=True/Delivered');
  });

  it('do not wait for a cordoned node', () => {
    const progress = aProgress([aReadyReport('n1'), aReport('n2')]);
    const nodes = [aTarget('n1'), aTarget('n2', { unschedulable: true })];
    const status = distributionStatus(aStatusInput({ progress, nodes }));
    expect(conditions(status)[0]).toBe('Ready=True/Delivered');
    expect(status.summary?.nodes).toBe('1/1');
  });

  it('do not count what was reported of another epoch', () => {
    const progress = aProgress([aReadyReport('n1'), aReadyReport('n2')], { epoch: 0 });
    const status = distributionStatus(aStatusInput({ progress }));
    expect(status.nodes).toMatchObject({ desired: 2, ready: 0, pending: 2 });
  });

  it.each<[string, Partial<StatusInput>, string[]]>([
    [
      'stall when the only nodes left have failed',
      { progress: aProgress([aReadyReport('n1'), aFailedReport('n2', 'TransferFailed')]) },
      ['Ready=False/NodesFailed', 'Stalled=True/NodesFailed'],
    ],
    [
      'name full disks',
      { progress: aProgress([aReadyReport('n1'), aFailedReport('n2', 'DiskFull')]) },
      ['Ready=False/DiskFull', 'Stalled=True/DiskFull'],
    ],
    [
      'name a wrong digest',
      {
        progress: aProgress([
          aFailedReport('n1', 'DigestMismatch'),
          aFailedReport('n2', 'DigestMismatch'),
        ]),
      },
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
      'say that nobody who matches can be waited for',
      {
        nodes: [aTarget('n1', { unschedulable: true }), aTarget('n2', { notReady: true })],
        progress: aProgress([]),
      },
      ['Ready=False/NodesUnavailable', 'Reconciling=True/NodesUnavailable'],
    ],
    [
      'say that it is suspended, also where nobody can be waited for',
      {
        nodes: [aTarget('n1', { unschedulable: true })],
        verdict: { action: 'suspend', record: aRecord() },
      },
      ['Ready=False/Suspended'],
    ],
    [
      'say that the quota is used up, when nothing moves',
      { idleForMs: 5_000, progress: aProgress(open, { pull: quotaExhausted }) },
      ['Ready=False/QuotaExhausted', 'Reconciling=True/QuotaExhausted'],
    ],
    [
      'do not, while peers give the rest',
      { idleForMs: 4_999, progress: aProgress(open, { pull: quotaExhausted }) },
      ['Ready=False/Transferring'],
    ],
    [
      'say that the file has gone from the origin in mid-transfer',
      {
        idleForMs: 5_000,
        progress: aProgress(open, {
          pull: { code: 'HttpStatus', message: 'the origin answered 404', httpStatus: 404 },
        }),
      },
      ['Ready=False/SourceNotFound', 'Stalled=True/SourceNotFound'],
    ],
    [
      'say that the credentials cannot be read, when nothing moves',
      {
        idleForMs: 5_000,
        failure: { reason: 'SecretNotFound', kind: 'stall', message: 'there is no Secret' },
      },
      [
        'Ready=False/SecretNotFound',
        'Stalled=True/SecretNotFound',
        'SourceResolved=False/SecretNotFound',
      ],
    ],
    [
      'do not, while peers have what is needed',
      {
        idleForMs: 4_999,
        failure: { reason: 'SecretNotFound', kind: 'stall', message: 'there is no Secret' },
      },
      ['Ready=False/Transferring', 'SourceResolved=False/SecretNotFound'],
    ],
    [
      'say that the database is away',
      { idleForMs: 5_000, troubles: troubles({ isDatabaseAway: () => true }) },
      ['Ready=False/DatabaseUnavailable', 'Reconciling=True/DatabaseUnavailable'],
    ],
    [
      'say that no agent is connected',
      { idleForMs: 30_000, progress: aProgress(gone) },
      ['Ready=False/AgentsMissing', 'Reconciling=True/AgentsMissing'],
    ],
    [
      'do not, while one is',
      { idleForMs: 30_000, progress: aProgress([aReport('n1'), ...gone.slice(1)]) },
      ['Ready=False/Transferring'],
    ],
    [
      'say that the image of the agents cannot be pulled',
      {
        idleForMs: 30_000,
        progress: aProgress(gone),
        troubles: troubles({ agentImage: () => "image 'a' cannot be pulled" }),
      },
      ['Ready=False/ImageNotPullable', 'Stalled=True/ImageNotPullable'],
    ],
    [
      'say that the image of the relays cannot be pulled',
      {
        idleForMs: 5_000,
        relays: [{ domain: 'a', desired: 1, available: 0 }],
        troubles: troubles({ relayImage: () => "image 'a' cannot be pulled" }),
      },
      [
        'Ready=False/ImageNotPullable',
        'Stalled=True/ImageNotPullable',
        'RelaysAvailable=False/ImageNotPullable',
      ],
    ],
  ])('%s', (_name, overrides, expected) => {
    expect(conditions(distributionStatus(aStatusInput(overrides)))).toEqual(
      expect.arrayContaining(expected),
    );
  });
});

describe('a completed epoch whose origin has another version', () => {
  const progress = aProgress([aReadyReport('n1'), aReport('n2')], { sourceChanged: true });
  const previous = distributionStatus(
    aStatusInput({ nodes: [aTarget('n1')], progress: aProgress([aReadyReport('n1')]) }),
  );
  const completed = aRecord({ completedAt: NOW });
  const say = (overrides: Partial<StatusInput>) =>
    distributionStatus(aStatusInput({ previous, record: completed, progress, ...overrides }));

  it('fails nodes that no other node serves, with what to do', () => {
    const late = say({ idleForMs: 30_000 });
    expect(late.nodes).toMatchObject({ ready: 1, failed: 1 });
    expect(late.failedNodes).toMatchObject([{ name: 'n2', reason: 'SourceChanged' }]);
    expect(late.failedNodes?.[0]?.message).toContain('; change spec.source.url');
    expect(conditions(late)[0]).toBe('Ready=True/Delivered');
  });

  it.each([
    ['while bytes move', { idleForMs: 29_999 }],
    ['that are served by the next epoch', { idleForMs: 30_000, record: aRecord() }],
    [
      'whose origin is the same',
      { idleForMs: 30_000, progress: aProgress([aReadyReport('n1'), aReport('n2')]) },
    ],
  ])('fails none %s', (_case, overrides) => {
    expect(say(overrides).nodes).toMatchObject({ ready: 1, transferring: 1, failed: 0 });
  });
});

describe('the epoch', () => {
  it('stays what was told while nothing is known of any', () => {
    const previous = distributionStatus(aStatusInput({ record: aRecord({ epoch: 2 }) }));
    const unknown = { record: undefined, recordIsCurrent: false, progress: undefined };
    const verdict = { action: 'resolve', serve: undefined } as const;
    const status = distributionStatus(aStatusInput({ ...unknown, previous, verdict }));
    expect(status.epoch).toMatchObject({ number: 2, sizeBytes: 1000 });
    expect(status.bytes).toBeUndefined();
    expect(distributionStatus(aStatusInput({ ...unknown, verdict })).epoch).toBeUndefined();
  });
});

describe('the relays', () => {
  it('are told by domain: how many are to run, and how many do', () => {
    const relays = [
      { domain: 'a', desired: 3, available: 2 },
      { domain: 'b', desired: 1, available: 0, missingForMs: 500 },
      { domain: 'c', desired: 0, available: 0 },
    ];
    expect(distributionStatus(aStatusInput({ relays })).relays).toEqual([
      { domain: 'a', desired: 3, available: 2 },
      { domain: 'b', desired: 1, available: 0 },
      { domain: 'c', desired: 0, available: 0 },
    ]);
  });

  it('are told of 256 domains at most', () => {
    const relays = Array.from({ length: 300 }, (_, at) => ({
      domain: `rack-${at}`,
      desired: 1,
      available: 1,
    }));
    const told = distributionStatus(aStatusInput({ relays })).relays;
    expect(told?.map(({ domain }) => domain)).toEqual(
      relays.slice(0, 256).map(({ domain }) => domain),
    );
  });
});

describe('failed nodes', () => {
  it('are named, the first ten', () => {
    const names = Array.from({ length: 12 }, (_, index) => `n${String(index).padStart(2, '0')}`);
    const status = distributionStatus(
      aStatusInput({
        nodes: names.map((name) => aTarget(name)),
        progress: aProgress(names.map((name) => aFailedReport(name, 'DiskFull'))),
      }),
    );
    expect(status.failedNodes).toHaveLength(10);
    expect(status.nodes?.failed).toBe(12);
    expect(status.failedNodes?.[0]).toMatchObject({ name: 'n00', reason: 'DiskFull' });
  });
});
