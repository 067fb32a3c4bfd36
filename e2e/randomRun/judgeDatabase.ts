/** Whether the database says what the cluster's objects say, and nothing else. PURE. */
import type { ClusterFacts } from './clusterFacts.ts';
import type { DatabaseFacts, JournalFacts, RecordFacts } from './databaseFacts.ts';
import { bytesOf, type Wanted } from './steps.ts';
import { isAway, targetsOf, type World } from './world.ts';

/** What the origin itself has counted since it began, and when that was. */
export interface MeterFacts {
  readonly openConnections: number;
  readonly bytesTotal: number;
  /** Milliseconds since the Unix epoch. */
  readonly sinceMs: number;
}

export function judgeDatabase(
  world: World,
  cluster: Pick<ClusterFacts, 'distributions' | 'nodes' | 'countedConnections' | 'ofRelays'>,
  { records, rows, journals }: DatabaseFacts,
  meter: MeterFacts,
): string[] {
  const uids = new Map(cluster.distributions.map(({ metadata }) => [metadata.uid, metadata.name]));
  const living = records.filter(({ isBuried }) => !isBuried);
  const wrong = living
    .filter(({ owner }) => !uids.has(owner))
    .map(({ uid, owner }) => `the record ${uid} is of ${owner}, which is gone`);
  // What a node that is away has is deleted when it is back.
  if (world.away === undefined) {
    const buried = records.filter(({ isBuried }) => isBuried);
    wrong.push(...buried.map(({ uid, name }) => `${name} (${uid}) still has its grave`));
    const known = new Set(records.map(({ uid }) => uid));
    const strays = new Set(rows.map(({ uid }) => uid).filter((uid) => !known.has(uid)));
    wrong.push(...[...strays].map((uid) => `nodes have rows of ${uid}, which is gone`));
  }
  for (const wanted of world.wanted.values()) {
    const own = recordsOf(wanted, cluster.distributions, living);
    const what = judgeRecord(world, cluster, wanted, own, rows);
    wrong.push(...what.map((each) => `${wanted.name}: ${each}`));
  }
  return [...wrong, ...judgeJournals(world, cluster, journals, meter)];
}

export function recordsOf(
  { name }: Pick<Wanted, 'name'>,
  distributions: ClusterFacts['distributions'],
  records: readonly RecordFacts[],
): RecordFacts[] {
  const found = distributions.find(({ metadata }) => metadata.name === name);
  return records.filter(({ owner, isBuried }) => !isBuried && owner === found?.metadata.uid);
}

function judgeRecord(
  world: World,
  { distributions, nodes }: Pick<ClusterFacts, 'distributions' | 'nodes'>,
  { name, version, settings }: Wanted,
  own: readonly RecordFacts[],
  allRows: DatabaseFacts['rows'],
): string[] {
  const [record, ...others] = own;
  // One that was applied suspended has not begun.
  if (record === undefined) return settings.suspend ? [] : ['has no record'];
  if (others.length > 0) return [`has ${own.length} records`];
  const status = distributions.find(({ metadata }) => metadata.name === name)?.status;
  const wrong: string[] = [];
  if (record.name !== name) wrong.push(`its record is of ${record.name}`);
  if (record.epoch !== status?.epoch?.number) {
    wrong.push(`epoch ${record.epoch}, its status says ${status?.epoch?.number}`);
  }
  if (settings.suspend) return wrong;
  const sizeBytes = bytesOf(version.files);
  if (record.sizeBytes !== sizeBytes) wrong.push(`its record has ${record.sizeBytes} bytes`);
  const rows = allRows.filter(({ uid }) => uid === record.uid);
  const targets = targetsOf(world, settings);
  for (const target of targets) {
    if (isAway(world, target.name) || target.name === world.cordoned) continue;
    const row = rows.find(({ node }) => node === target.name);
    const { state, verifiedBytes } = row?.progress ?? {};
    const isWhole = state === 'ready' && verifiedBytes === sizeBytes;
    const object = nodes.find(({ metadata }) => metadata.name === target.name);
    if (row?.epoch !== record.epoch || !isWhole) {
      wrong.push(`${target.name} has the row ${JSON.stringify(row)}`);
    } else if (row.nodeUid !== object?.metadata.uid) {
      wrong.push(`the row of ${target.name} is of another node of that name`);
    }
  }
  for (const { node } of rows) {
    if (isAway(world, node) || targets.some((target) => target.name === node)) continue;
    wrong.push(`${node} has a row, and is no target`);
  }
  return wrong;
}

function judgeJournals(
  world: World,
  { countedConnections, ofRelays }: Pick<ClusterFacts, 'countedConnections' | 'ofRelays'>,
  journals: readonly JournalFacts[],
  meter: MeterFacts,
): string[] {
  const wrong = journals
    .filter(({ gaps }) => gaps.length > 0)
    .map(({ origin, gaps }) => `the journal of ${origin} has no document ${gaps.join(', ')}`);
  const charged = journals.reduce((sum, { chargedBytes }) => sum + chargedBytes, 0);
  const isOnePeriod = journals.every(({ periodStartMs }) => periodStartMs <= meter.sinceMs);
  if (isOnePeriod && charged < meter.bytesTotal) {
    wrong.push(`the origin has sent ${meter.bytesTotal} bytes, charged are ${charged}`);
  }
  // A node that is away without the file keeps relays waiting for it.
  if (world.away !== undefined || ofRelays.length > 0) return wrong;
  const leased = journals.reduce((sum, { connections }) => sum + connections, 0);
  const open = { journal: leased, status: countedConnections, origin: meter.openConnections };
  if (Object.values(open).some((count) => count > 0)) {
    wrong.push(`nobody needs the origin, and connections are open: ${JSON.stringify(open)}`);
  }
  for (const { origin, leases } of journals) {
    if (leases > 0) wrong.push(`nobody needs ${origin}, and ${leases} leases are open`);
  }
  return wrong;
}
