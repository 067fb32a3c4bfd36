import type { NodeProgress } from '../controllers/dataSide.ts';
import type { StatusInput } from '../policies/distributionStatus.ts';
import type { TargetNode } from '../policies/nodes.ts';
import { aProgress, aRecord, aReport, troubles } from './objects.ts';

export function aTarget(name: string, change: Partial<TargetNode> = {}): TargetNode {
  return { name, domain: 'a', unschedulable: false, ...change };
}

/** Of a node that has all of the file of aRecord. */
export function aReadyReport(name: string): NodeProgress {
  return aReport(name, {
    state: 'ready',
    verifiedBytes: 1000,
    received: { fromPeers: 750, fromRelays: 200, fromRelayHttp: 50, fromOrigin: 0 },
  });
}

export function aFailedReport(name: string, reason: string): NodeProgress {
  return aReport(name, { state: 'failed', error: { reason, message: 'because' } });
}

/** Two nodes receive from a relay. */
export function aStatusInput(overrides: Partial<StatusInput> = {}): StatusInput {
  const record = aRecord();
  return {
    generation: 3,
    previous: undefined,
    verdict: { action: 'serve', record },
    record,
    recordIsCurrent: true,
    failure: undefined,
    sourceChanged: false,
    nodes: [aTarget('n1'), aTarget('n2')],
    progress: aProgress([aReport('n1'), aReport('n2')]),
    relays: [{ domain: 'a', desired: 1, available: 1 }],
    workloads: [],
    idleForMs: 0,
    progressDeadlineSeconds: 600,
    maxUnready: 0,
    troubles: troubles(),
    now: '2026-01-01T00:10:00Z',
    ...overrides,
  };
}
