/**
 * What each process is told: from plans, processes and what they have reported, the state that the
 * process should know, and from that and what it was told already, the messages. PURE.
 */
import { fileUrlOf } from '@sluice/protocol/fileUrl.ts';
import type {
  Donor,
  Peer,
  ProcessKind,
  Task,
  TaskMirror,
  TransferState,
  WorkMessage,
} from '@sluice/protocol/messages.ts';
import type { DistributionPlan, OriginPolicy, PlanMirror } from '../controllers/dataSide.ts';
import { originRefusal } from '../policies/originRefusal.ts';
import { agentsMayKnow, topUpBytes } from '../policies/topUp.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import { neighbours } from '../tracker/peers.ts';

/** One run of a relay or an agent. */
export interface ProcessInfo {
  /** Pod uid and incarnation. */
  readonly id: string;
  readonly kind: ProcessKind;
  readonly node: string;
  /** Relays: the topology domain that their Deployment is for. */
  readonly domain: string | undefined;
  /** Relays: uid of the only distribution that they serve. */
  readonly dedicatedTo?: string | undefined;
  readonly host: string;
  readonly bitTorrentPort: number;
  readonly httpPort: number | undefined;
}

export interface Tombstone {
  readonly uid: string;
  readonly deleteFiles: boolean;
}

export type Removal = Extract<WorkMessage, { type: 'remove' }>;

/** All that a process should have been told of one distribution. */
export interface Work {
  readonly task?: Task;
  /** Who else works on the task's epoch. */
  readonly peers: readonly Peer[];
  /** Of earlier epochs, or without an epoch of all that there is. */
  readonly removals: readonly Removal[];
}

/** Earlier epochs than this many before the newest are long gone. */
const MAX_EARLIER_EPOCHS = 8;

/** Who works on a plan: agents of its nodes, relays of the domains that these are in. */
export function membersOf<P extends ProcessInfo>(
  plan: DistributionPlan,
  processes: Iterable<P>,
): { process: P; domain: string }[] {
  if (plan.suspend) return [];
  const members: { process: P; domain: string }[] = [];
  for (const process of processes) {
    const domain = domainIn(plan, process);
    if (domain !== undefined) members.push({ process, domain });
  }
  return members;
}

/** By the nodes of a plan: each report asks where its process belongs. */
const domainsOfNodes = new WeakMap<
  DistributionPlan['nodes'],
  { readonly byNode: ReadonlyMap<string, string>; readonly served: ReadonlySet<string> }
>();

/** In which it works on the plan, when that is not suspended; undefined: it has no part in it. */
export function domainIn(
  { nodes, record, dedicatedRelays }: DistributionPlan,
  process: Pick<ProcessInfo, 'kind' | 'node' | 'domain' | 'dedicatedTo'>,
): string | undefined {
  let domains = domainsOfNodes.get(nodes);
  if (domains === undefined) {
    const byNode = new Map(nodes.map(({ name, domain }) => [name, domain]));
    domains = { byNode, served: new Set(byNode.values()) };
    domainsOfNodes.set(nodes, domains);
  }
  if (process.kind === 'agent') return domains.byNode.get(process.node);
  const { domain } = process;
  const dedicatedTo = dedicatedRelays === true ? record.uid : undefined;
  const isServed = domain !== undefined && domains.served.has(domain);
  return isServed && process.dedicatedTo === dedicatedTo ? domain : undefined;
}

export function peersOf(
  members: readonly { process: ProcessInfo; domain: string }[],
): Map<string, Peer[]> {
  const graph = neighbours(
    members.map(({ process, domain }) => {
      return { id: process.id, kind: process.kind, domain, peer: peerOf(process) };
    }),
  );
  return new Map([...graph].map(([id, others]) => [id, others.map(({ peer }) => peer)]));
}

/** By the process: lists of the same peers are the same in their elements, too. */
const peersByProcess = new WeakMap<ProcessInfo, Peer>();

function peerOf(process: ProcessInfo): Peer {
  const known = peersByProcess.get(process) ?? newPeer(process);
  peersByProcess.set(process, known);
  return known;
}

function newPeer({ id, kind, host, bitTorrentPort, httpPort }: ProcessInfo): Peer {
  return {
    id,
    role: kind,
    host,
    port: bitTorrentPort,
    ...(kind === 'relay' && httpPort !== undefined && { httpPort }),
  };
}

/** What a task says besides the plan. */
export interface TaskMore {
  readonly revokedPullers?: readonly string[];
  /** An agent, in a relay's place. */
  readonly pulls?: boolean;
  readonly donors?: readonly Donor[];
  readonly policies?: readonly OriginPolicy[];
}

/** `policy`: of the Origin that covers the source, if any. */
export function taskFor(
  plan: DistributionPlan,
  kind: ProcessKind,
  policy: OriginPolicy | undefined,
  { revokedPullers = [], pulls = false, donors = [], policies = [] }: TaskMore = {},
): Task {
  const { record, delivery, target, headers } = plan;
  const { source } = record;
  // Nobody asks without the credentials that there are.
  const isKnown = plan.lacksCredentials !== true;
  const hasSource = isKnown && (pulls || namesSource(plan, kind, policy));
  const mirrors = mirrorsFor(plan, kind, policies);
  return {
    uid: record.uid,
    namespace: record.namespace,
    name: record.name,
    epoch: record.epoch,
    swarmId: record.swarmId,
    pieceLengthBytes: record.pieceLengthBytes,
    files: record.files.map(({ validator, ...file }) => file),
    feedKey: record.feedPublicKey,
    swarmSecret: record.swarmSecret,
    relayToken: record.relayToken,
    delivery: { ...delivery, topUp: [...delivery.topUp] },
    ...(revokedPullers.length > 0 && { revokedPullers: [...revokedPullers] }),
    ...(donors.length > 0 && { donors: [...donors] }),
    ...(pulls && { pulls }),
    ...(hasSource && {
      source: {
        url: record.url,
        headers: { ...headers },
        files: record.files.map(({ path, validator = source.validator }) => ({ path, validator })),
        ranges: source.ranges,
        allowPrivateAddresses: policy?.allowPrivateAddresses ?? false,
        ...(mirrors.length > 0 && { mirrors }),
      },
    }),
    ...(kind === 'agent' && { target: { ...target } }),
  };
}

/** Whether each process of this kind is told where the source is. */
export function namesSource(
  plan: DistributionPlan,
  kind: ProcessKind,
  policy: OriginPolicy | undefined,
): boolean {
  return kind === 'relay' || topUpBytes(plan, policy) !== undefined;
}

/** Mirrors that the Origins let this distribution use, for a process that may have their credentials. */
function mirrorsFor(
  plan: DistributionPlan,
  kind: ProcessKind,
  policies: readonly OriginPolicy[],
): TaskMirror[] {
  return allowedMirrors(plan, policies).flatMap(({ id, url, headers, validators }) => {
    const policy = coveringPolicy(url, policies);
    if (kind === 'agent' && !agentsMayKnow({ headers }, policy)) return [];
    const allowPrivateAddresses = policy?.allowPrivateAddresses ?? false;
    const copies = { headers: { ...headers }, validators: [...validators] };
    return [{ id, url, ...copies, allowPrivateAddresses }];
  });
}

/** By the Origins, and the epoch and mirror: a thousand URLs are looked at once. */
const refusals = new WeakMap<readonly OriginPolicy[], Map<string, boolean>>();

/** As the Origins are now. */
export function allowedMirrors(
  { record, mirrors = [] }: DistributionPlan,
  policies: readonly OriginPolicy[],
): PlanMirror[] {
  const known = refusals.get(policies) ?? new Map<string, boolean>();
  refusals.set(policies, known);
  return mirrors.filter(({ id, url }) => {
    const key = `${record.uid}/${record.epoch}/${id}`;
    let isRefused = known.get(key);
    if (isRefused === undefined) {
      const urls = record.files.map(({ path }) => fileUrlOf(url, path));
      isRefused = originRefusal(url, urls, record.namespace, policies) !== undefined;
      known.set(key, isRefused);
    }
    return !isRefused;
  });
}

/** Whether it matters what a process says of this epoch. */
export function isAsked(epoch: number, newest: number): boolean {
  return epoch <= newest && epoch >= newest - MAX_EARLIER_EPOCHS;
}

/** What becomes of the epochs before the newest at this process, by what it has said of each. */
export function earlierEpochs(
  plan: DistributionPlan,
  kind: ProcessKind,
  stateOf: (epoch: number) => TransferState | undefined,
): Removal[] {
  const { uid, epoch } = plan.record;
  const removals: Removal[] = [];
  const newest = stateOf(epoch);
  // A relay whose disk may be too small for two versions has room for the newer one then. Which
  // whole versions a node keeps beside the newest it sees itself, by the target's keepVersions.
  const isReplaced = kind === 'relay' && (newest === 'ready' || newest === 'failed');
  for (let each = Math.max(1, epoch - MAX_EARLIER_EPOCHS); each < epoch; each += 1) {
    // What a node has said nothing of (an agent that was started anew, another leader) may be whole.
    const state = stateOf(each);
    const mayBeWhole = state === undefined || state === 'ready';
    // What a relay has of the one before, whole or not, it need not pull again.
    const isOfUse = kind === 'agent' ? mayBeWhole : each === epoch - 1;
    const isKept = isOfUse && !isReplaced;
    if (!isKept) removals.push({ type: 'remove', uid, epoch: each, deleteFiles: true });
  }
  return removals;
}

export const NO_WORK: Work = { peers: [], removals: [] };

/** Messages that bring a process from what it was told of a distribution to what is so. */
export function difference(told: Work = NO_WORK, work: Work = NO_WORK): WorkMessage[] {
  const { task, peers, removals } = work;
  const messages: WorkMessage[] = removals.filter(
    (removal) => !told.removals.some((known) => sameRemoval(known, removal)),
  );
  if (task === undefined) {
    const isTombstone = removals.some(({ epoch }) => epoch === undefined);
    if (told.task === undefined || isTombstone) return messages;
    const { uid, epoch } = told.task;
    return [...messages, { type: 'remove', uid, epoch, deleteFiles: false }];
  }
  if (!sameTask(told.task, task)) messages.push({ type: 'task', task });
  const { uid, epoch } = task;
  if (told.task?.epoch !== epoch || !samePeers(told.peers, peers)) {
    messages.push({ type: 'peers', uid, epoch, peers: [...peers] });
  }
  return messages;
}

/** A task is told to thousands: as a line it is made once, and all streams share it. */
const taskLines = new WeakMap<Task, Buffer>();

/** A peer is in the lists of about twenty others. */
const peerTexts = new WeakMap<Peer, string>();

/** As it is sent. */
export function lineOf(message: WorkMessage): Buffer {
  if (message.type === 'peers') return Buffer.from(textOfPeers(message));
  if (message.type !== 'task') return Buffer.from(`${JSON.stringify(message)}\n`);
  const known = taskLines.get(message.task);
  if (known !== undefined) return known;
  const line = Buffer.from(`${JSON.stringify(message)}\n`);
  taskLines.set(message.task, line);
  return line;
}

/** What JSON.stringify makes of it. */
function textOfPeers({ peers, ...rest }: Extract<WorkMessage, { type: 'peers' }>): string {
  return `${JSON.stringify(rest).slice(0, -1)},"peers":[${peers.map(textOfPeer).join()}]}\n`;
}

function textOfPeer(peer: Peer): string {
  const known = peerTexts.get(peer);
  if (known !== undefined) return known;
  const text = JSON.stringify(peer);
  peerTexts.set(peer, text);
  return text;
}

/** Whether both would be told in the same words. */
export function sameTask(one: Task | undefined, other: Task): boolean {
  if (one === other || one === undefined) return one === other;
  return lineOf({ type: 'task', task: one }).equals(lineOf({ type: 'task', task: other }));
}

/** Of thousands of lists of hundreds, each time that anything has changed. */
export function samePeers(one: readonly Peer[], other: readonly Peer[]): boolean {
  if (one === other) return true;
  return one.length === other.length && one.every((peer, at) => samePeer(peer, other[at]));
}

function samePeer(one: Peer, other: Peer | undefined): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

function sameRemoval(one: Removal, other: Removal): boolean {
  return one.epoch === other.epoch && one.deleteFiles === other.deleteFiles;
}
