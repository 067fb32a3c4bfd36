/** Whether the cluster's objects are as a run wants them. PURE: sentences, none when all is well. */
import { ROOT } from '../install/sluice.ts';
import type {
  ClusterFacts,
  Condition,
  DistributionFacts,
  EventFacts,
  StorageFacts,
  WorkloadFacts,
} from './clusterFacts.ts';
import { bytesOf, type Wanted } from './steps.ts';
import { isAway, targetsOf, type World } from './world.ts';

const LABEL_PREFIX = 'default.dist.sluice.dev/';
const UID_LABEL = 'sluice.dev/distribution-uid';
/** While it is Ready, of these only True. */
const GOOD = ['SourceResolved', 'RelaysAvailable', 'NodesLabelled'];

export function judgeCluster(world: World, facts: ClusterFacts): string[] {
  return [
    ...judgeDistributions(world, facts.distributions),
    ...judgeLabels(world, facts),
    ...judgeStorage(world, facts),
    ...judgeWorkloads(world, facts),
  ];
}

function judgeDistributions(world: World, found: readonly DistributionFacts[]): string[] {
  const names = new Set(found.map(({ metadata }) => metadata.name));
  const missing = [...world.wanted.keys()].filter((name) => !names.has(name));
  return [
    ...missing.map((name) => `Distribution ${name} is not there`),
    ...found.flatMap((each) => {
      const wanted = world.wanted.get(each.metadata.name);
      if (wanted === undefined) return [`Distribution ${each.metadata.name} is still there`];
      return judgeStatus(world, wanted, each).map((what) => `${wanted.name}: ${what}`);
    }),
  ];
}

function judgeStatus(
  world: World,
  { version, settings }: Wanted,
  { metadata, status }: DistributionFacts,
): string[] {
  const { generation, deletionTimestamp } = metadata;
  if (deletionTimestamp !== undefined) return ['is being deleted'];
  if (status?.observedGeneration !== generation) {
    return [`generation ${generation}, its status is of ${status?.observedGeneration}`];
  }
  const byType = new Map(status.conditions?.map((each) => [each.type, each]));
  const ready = byType.get('Ready');
  if (settings.suspend) {
    // Of what every node has nothing is suspended.
    const isRight = ready?.reason === 'Suspended' || ready?.status === 'True';
    return isRight ? [] : [`is suspended, and ${told(ready)}`];
  }
  const targets = targetsOf(world, settings);
  const sure = targets.filter(({ name }) => !isAway(world, name) && name !== world.cordoned);
  // Nobody waits for those that are left.
  if (sure.length === 0 && targets.length > 0) return [];
  if (ready?.status !== 'True') return [`is ${told(ready)} (${JSON.stringify(status.nodes)})`];
  const wrong = ['Reconciling', 'Stalled'].filter((type) => byType.has(type));
  const bad = GOOD.map((type) => byType.get(type)).filter(
    (condition) => condition !== undefined && condition.status !== 'True',
  );
  return [
    ...wrong.map((type) => `is Ready and ${told(byType.get(type))}`),
    ...bad.map((condition) => `is Ready, and ${told(condition)}`),
    ...judgeNumbers(status, {
      sizeBytes: bytesOf(version.files),
      least: sure.length,
      most: targets.length,
    }),
  ];
}

function judgeNumbers(
  { nodes, epoch, bytes, failedNodes = [] }: NonNullable<DistributionFacts['status']>,
  expected: { readonly sizeBytes: number; readonly least: number; readonly most: number },
): string[] {
  const { sizeBytes, least, most } = expected;
  const wrong = failedNodes.map(({ name, reason }) => `is Ready, and ${name} failed: ${reason}`);
  if (most === 0) return wrong;
  const { desired = 0, ready = 0, failed = 0 } = nodes ?? {};
  if (ready < least || ready > most || ready > desired || failed > 0) {
    wrong.push(`of ${least} to ${most} nodes says ${JSON.stringify(nodes)}`);
  }
  if (epoch?.sizeBytes !== sizeBytes) {
    wrong.push(`has ${sizeBytes} bytes, its status says ${epoch?.sizeBytes}`);
  }
  const { total = 0, delivered = 0 } = bytes ?? {};
  if (delivered < least * sizeBytes || delivered > total || total > most * sizeBytes) {
    wrong.push(`has ${sizeBytes} bytes on ${least} to ${most} nodes: ${JSON.stringify(bytes)}`);
  }
  return wrong;
}

function told(condition: Condition | undefined): string {
  if (condition === undefined) return 'without the condition';
  const { type, status, reason, message } = condition;
  return `${type}=${status}: ${reason}: ${message}`;
}

/** Of nodes that are away, cordoned, or for what is suspended, either is right. */
function judgeLabels(world: World, { nodes, distributions }: ClusterFacts): string[] {
  const epochs = new Map(
    distributions.map(({ metadata, status }) => [metadata.name, status?.epoch?.number]),
  );
  const wrong: string[] = [];
  for (const { metadata } of nodes) {
    for (const { name, settings } of world.wanted.values()) {
      const isTarget = targetsOf(world, settings).some((node) => node.name === metadata.name);
      const isSure = metadata.name !== world.cordoned && !isAway(world, metadata.name);
      const shown = metadata.labels[`${LABEL_PREFIX}${name}`];
      const expected = settings.nodeLabel && isTarget ? String(epochs.get(name)) : undefined;
      const isEither = settings.nodeLabel && (settings.suspend || (isTarget && !isSure));
      if (isEither || shown === expected) continue;
      wrong.push(`${metadata.name}: the label of ${name} is ${shown}, and should be ${expected}`);
    }
    for (const label of Object.keys(metadata.labels)) {
      if (!label.startsWith(LABEL_PREFIX)) continue;
      if (world.wanted.has(label.slice(LABEL_PREFIX.length))) continue;
      wrong.push(`${metadata.name} still has the label ${label}`);
    }
  }
  return wrong;
}

function judgeStorage(world: World, facts: ClusterFacts): string[] {
  const wrong: string[] = [];
  const uids = new Map(facts.distributions.map(({ metadata }) => [metadata.uid, metadata.name]));
  for (const wanted of world.wanted.values()) {
    const own = facts.distributions.find(({ metadata }) => metadata.name === wanted.name);
    if (own === undefined) continue;
    const isOwn = ({ metadata }: StorageFacts) => metadata.labels?.[UID_LABEL] === own.metadata.uid;
    const claims = facts.claims.filter(isOwn);
    const volumes = facts.volumes.filter(isOwn);
    const what = judgeClaim(wanted, own.status?.conditions ?? [], { claims, volumes });
    wrong.push(...what.map((each) => `${wanted.name}: ${each}`));
  }
  for (const { metadata } of [...facts.claims, ...facts.volumes]) {
    const uid = metadata.labels?.[UID_LABEL] ?? '';
    if (!uids.has(uid)) wrong.push(`${metadata.name} is of ${uid}, which is gone`);
    // Nobody uses it, so it should be gone, and another one be there.
    else if (metadata.deletionTimestamp !== undefined) {
      wrong.push(`${metadata.name} is being deleted`);
    }
  }
  return wrong;
}

function judgeClaim(
  wanted: Wanted,
  conditions: readonly Condition[],
  { claims, volumes }: Pick<ClusterFacts, 'claims' | 'volumes'>,
): string[] {
  const { claim: name } = wanted.settings;
  const condition = conditions.find(({ type }) => type === 'VolumeAvailable');
  const names = (found: readonly StorageFacts[]) => found.map(({ metadata }) => metadata.name);
  if (name === undefined) {
    const left = [...names(claims), ...names(volumes)];
    if (condition !== undefined) left.push(told(condition));
    return left.map((each) => `wants no claim, and has ${each}`);
  }
  const [claim, ...otherClaims] = claims;
  const [volume, ...otherVolumes] = volumes;
  if (claim === undefined || volume === undefined) return [`has no claim, or no volume`];
  const wrong = [...names(otherClaims), ...names(otherVolumes)].map((each) => `has ${each}, too`);
  if (claim.metadata.name !== name) wrong.push(`has the claim ${claim.metadata.name}, not ${name}`);
  if (claim.status.phase !== 'Bound' || claim.spec.volumeName !== volume.metadata.name) {
    wrong.push(`the claim is ${claim.status.phase} to ${claim.spec.volumeName}`);
  }
  const at = `${ROOT}/default/${wanted.path}`;
  if (volume.spec.hostPath?.path !== at) wrong.push(`the volume is ${volume.spec.hostPath?.path}`);
  // One that pods may use stays as it was made, and the condition says so.
  const isCurrent = isForNodesOf(wanted, volume);
  const reason = isCurrent ? 'VolumeBound' : 'VolumeOutdated';
  if (condition?.reason !== reason) wrong.push(`the volume is ${reason}, and ${told(condition)}`);
  return wrong;
}

function isForNodesOf({ settings: { zone, isForPool } }: Wanted, { spec }: StorageFacts): boolean {
  const terms = spec.nodeAffinity?.required.nodeSelectorTerms ?? [];
  const expressions = terms.flatMap(({ matchExpressions }) => matchExpressions);
  const zones = expressions.filter(({ key }) => key.endsWith('/zone')).flatMap((e) => e.values);
  const isPool = expressions.some(({ key }) => key.endsWith('/pool'));
  return zones[0] === zone && isPool === isForPool;
}

function judgeWorkloads(world: World, { operator, agents, ofRelays }: ClusterFacts): string[] {
  // Pods of a node that is away are given up minutes later.
  if (world.away !== undefined) return [];
  const wrong = ofRelays.map((what) => `nobody needs relays, and there is ${what}`);
  wrong.push(...judgeWorkload('the operator', operator), ...judgeWorkload('the agents', agents));
  const { replicas } = operator.spec;
  const { status } = operator;
  const counts = [status.replicas, status.availableReplicas, status.updatedReplicas];
  if (counts.some((count) => count !== replicas)) wrong.push(`the operator has pods ${counts}`);
  const { desiredNumberScheduled, numberAvailable, updatedNumberScheduled } = agents.status;
  const nodes = world.nodes.length;
  const scheduled = [desiredNumberScheduled, numberAvailable, updatedNumberScheduled];
  if (scheduled.some((count) => count !== nodes)) {
    wrong.push(`of ${nodes} nodes agents run on ${scheduled}`);
  }
  return wrong;
}

/** What its status counts may be pods of a template of before. */
function judgeWorkload(name: string, { metadata, status }: WorkloadFacts): string[] {
  const { generation, deletionTimestamp } = metadata;
  if (deletionTimestamp !== undefined) return [`the workload of ${name} is being deleted`];
  const { observedGeneration } = status;
  if (observedGeneration === generation) return [];
  return [`generation ${generation} of ${name}, its status is of ${observedGeneration}`];
}

/** What repeats is one event with a count. `seen`: names of those that were judged before. */
export function judgeEvents(
  events: readonly EventFacts[],
  seen: ReadonlySet<string>,
): { readonly most: number; readonly wrong: readonly string[] } {
  const fresh = events.filter(({ metadata }) => !seen.has(metadata.name));
  const bySubject = Map.groupBy(fresh, ({ regarding }) => regarding.uid);
  const most = Math.max(0, ...[...bySubject.values()].map(({ length }) => length));
  const wrong: string[] = [];
  for (const own of bySubject.values()) {
    const name = own[0]?.regarding.name;
    const alike = Map.groupBy(own, ({ reason, note, reportingInstance }) =>
      [reason, note, reportingInstance].join(' '),
    );
    for (const [what, { length }] of alike) {
      if (length > MOST_ALIKE) wrong.push(`${name}: ${length} events say: ${what}`);
    }
    if (own.length > MOST_AT_ONCE) {
      const reasons = own.map(({ reason }) => reason).join(', ');
      wrong.push(`${name}: ${own.length} events: ${reasons}`);
    }
  }
  return { most, wrong };
}

/** A container that starts again has the name of the one before, and does not know what that told. */
const MOST_ALIKE = 2;
/** As documented: so many may come at once. */
const MOST_AT_ONCE = 20;
