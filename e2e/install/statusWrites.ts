/** How often statuses are written, as the API server's audit log has it. */
import path from 'node:path';
import type { Cluster } from '../cluster/cluster.ts';
import { type AuditEvent, auditEventsOf } from './auditedRights.ts';
import { NAMESPACE } from './sluice.ts';

/** Of one Distribution by one replica: a few written close together are no flood, many are. */
export const WINDOW_MS = 10_000;

export async function mostStatusWrites(cluster: Cluster): Promise<number> {
  const account = `system:serviceaccount:${NAMESPACE}:sluice-operator`;
  return mostWritesIn(await auditEventsOf(path.join(cluster.stateFolder, 'logs'), account));
}

/** In any window; there is no run without any, but there is a log that is not where one looks. */
export function mostWritesIn(events: readonly AuditEvent[]): number {
  const writes = events.filter(({ verb, stage, objectRef }) => {
    const isStatus = objectRef?.resource === 'distributions' && objectRef.subresource === 'status';
    return isStatus && stage === 'ResponseComplete' && ['patch', 'update'].includes(verb);
  });
  if (writes.length === 0) throw new Error('the audit log has no write of a status');
  const series = Map.groupBy(writes, ({ objectRef, sourceIPs = [] }) => {
    return [objectRef?.namespace, objectRef?.name, ...sourceIPs].join(' ');
  });
  let most = 0;
  for (const own of series.values()) {
    const times = own.map(({ requestReceivedTimestamp = '' }) => {
      return Date.parse(requestReceivedTimestamp);
    });
    times.sort((a, b) => a - b);
    let first = 0;
    for (const [at, time] of times.entries()) {
      while (time - times[first]! >= WINDOW_MS) first += 1;
      most = Math.max(most, at - first + 1);
    }
  }
  return most;
}
