/** Objects as the operator leaves them, turn by turn, and what tools should make of them. */
import type { DistributionStatus } from '@sluice/operator/api/v1alpha1/distribution.ts';
import { distributionStatus } from '@sluice/operator/policies/distributionStatus.ts';
import { classifyError, failure } from '@sluice/operator/policies/failures.ts';
import { decideOrigins } from '@sluice/operator/policies/origin.ts';
import { originStatus } from '@sluice/operator/policies/originStatus.ts';
import { anOrigin, aProgress, aRecord, aReport } from '@sluice/operator/testing/objects.ts';
import { aStatusInput } from '@sluice/operator/testing/statusInput.ts';

export interface Judged {
  readonly turn: string;
  readonly object: object;
  readonly kstatus: 'InProgress' | 'Current' | 'Failed' | 'Terminating';
  readonly argo: 'Progressing' | 'Healthy' | 'Degraded' | 'Suspended';
}

type StatusInput = Parameters<typeof distributionStatus>[0];

const GENERATION = 3;
const NODES = ['n1', 'n2'];

function statusOf(overrides: Partial<StatusInput>): DistributionStatus {
  return distributionStatus(aStatusInput({ generation: GENERATION, relays: [], ...overrides }));
}

function unresolved(httpStatus: number): Partial<StatusInput> {
  return {
    verdict: { action: 'resolve', serve: undefined },
    record: undefined,
    recordIsCurrent: false,
    failure: classifyError({ message: `the origin answered ${httpStatus}`, httpStatus }),
  };
}

function distribution(status: object, metadata: object = {}): object {
  return {
    apiVersion: 'sluice.dev/v1alpha1',
    kind: 'Distribution',
    metadata: { name: 'llama', namespace: 'ml', generation: GENERATION, ...metadata },
    spec: {},
    status,
  };
}

const ready = aProgress(NODES.map((name) => aReport(name, { state: 'ready' })));
const fullDisks = aProgress(
  NODES.map((name) =>
    aReport(name, { state: 'failed', error: { reason: 'DiskFull', message: 'no space' } }),
  ),
);
const exhausted = aProgress(
  NODES.map((name) => aReport(name)),
  { pull: { code: 'QuotaExhausted', message: 'used up', untilMs: 1 } },
);

const distributions: readonly (readonly [
  turn: string,
  object: object,
  kstatus: Judged['kstatus'],
  argo: Judged['argo'],
])[] = [
  [
    'that was just applied',
    distribution({ observedGeneration: -1 }, { generation: 1 }),
    'InProgress',
    'Progressing',
  ],
  ['whose nodes receive', distribution(statusOf({})), 'InProgress', 'Progressing'],
  ['that is delivered', distribution(statusOf({ progress: ready })), 'Current', 'Healthy'],
  [
    'that was edited after it was delivered',
    distribution(statusOf({ progress: ready }), { generation: GENERATION + 1 }),
    'InProgress',
    'Progressing',
  ],
  [
    'that no node matches',
    distribution(statusOf({ nodes: [], progress: aProgress([]) })),
    'Current',
    'Healthy',
  ],
  ['whose file is gone', distribution(statusOf(unresolved(404))), 'Failed', 'Degraded'],
  ['whose origin fails', distribution(statusOf(unresolved(503))), 'InProgress', 'Progressing'],
  ['whose disks are full', distribution(statusOf({ progress: fullDisks })), 'Failed', 'Degraded'],
  [
    'whose quota is used up',
    distribution(statusOf({ progress: exhausted, idleForMs: 10_000 })),
    'InProgress',
    'Progressing',
  ],
  [
    'whose path is taken',
    distribution(
      statusOf({
        verdict: { action: 'hold', serve: undefined, problem: failure('PathConflict', 'taken') },
      }),
    ),
    'Failed',
    'Degraded',
  ],
  [
    'that is suspended',
    distribution(statusOf({ verdict: { action: 'suspend', record: aRecord() } })),
    'InProgress',
    'Suspended',
  ],
  [
    'that is being deleted',
    distribution(statusOf({ verdict: { action: 'remove' } }), {
      deletionTimestamp: '2026-01-01T00:11:00Z',
    }),
    'Terminating',
    'Progressing',
  ],
];

const hosts = { hosts: ['cdn.example.com'] };
const older = anOrigin('older', hosts, '2026-01-01T00:00:00Z');
const younger = anOrigin('younger', hosts, '2026-01-02T00:00:00Z');
const verdicts = decideOrigins(
  [older, younger].map(({ metadata, spec }) => ({
    name: metadata.name,
    uid: metadata.uid,
    createdAt: metadata.creationTimestamp,
    spec,
  })),
  [],
);

function origin(of: typeof older): object {
  const status = originStatus({
    generation: 1,
    previous: undefined,
    verdict: verdicts.get(of.metadata.name)!,
    usage: undefined,
    journals: undefined,
    heldBack: [],
    nameOf: () => undefined,
    now: '2026-01-01T00:10:00Z',
  });
  return { ...of, status };
}

export const JUDGED: readonly Judged[] = [
  ...distributions.map(([turn, object, kstatus, argo]) => ({
    turn: `a Distribution ${turn}`,
    object,
    kstatus,
    argo,
  })),
  {
    turn: 'an Origin in force',
    object: origin(older),
    kstatus: 'Current',
    argo: 'Healthy',
  },
  {
    turn: 'an Origin whose host is taken',
    object: origin(younger),
    kstatus: 'Failed',
    argo: 'Degraded',
  },
];
