/** One run: a cluster of so many nodes is written down, served, watched, and ended. */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { listPath, resources } from '@sluice/operator/kube/paths.ts';
import { startApiServer, type TestApiServer } from '@sluice/operator/testing/adapters/apiServer.ts';
import {
  startTestDatabase,
  type TestDatabase,
} from '@sluice/operator/testing/adapters/testDatabase.ts';
import { BRIDGE_ADDRESS, STATE_FOLDER } from '../namespaces.ts';
import { Processes } from '../processes.ts';
import { ScaleAgents } from './agents.ts';
import { Heartbeats } from './heartbeats.ts';
import { createNodes, distributionBody, SLICE_NODES } from './kubernetes.ts';
import { quantileBetween } from './metricsText.ts';
import { OperatorProcess, type OperatorSample } from './operatorProcess.ts';
import {
  allReady,
  applyOrigin,
  areTrue,
  caFile,
  labelledNodes,
  startOrigin,
  until,
} from './surroundings.ts';

export interface ScaleOptions {
  readonly nodes: number;
  readonly distributions: number;
  readonly transferMs: number;
  /** The first distribution, which goes to all nodes, labels them. */
  readonly labels: boolean;
  readonly profile: string | undefined;
}

/** What the operator did between two samples. */
interface Window {
  readonly seconds: number;
  readonly cores: number;
  readonly rssMb: number;
  readonly heapMb: number;
  readonly statusWritesPerSecond: number;
  readonly statusWritesPerSecondAndDistribution: number;
  readonly kubeRequests: Readonly<Record<string, number>>;
  readonly reconcileP50Seconds: number;
  readonly reconcileP99Seconds: number;
}

export interface ScaleRun {
  readonly nodes: number;
  readonly distributions: number;
  readonly labels: boolean;
  readonly secondsUntilConnected: number;
  readonly firstTaskSeconds: { readonly median: number; readonly worst: number };
  /** From the last apply on, while nodes transfer. */
  readonly transfer: Window;
  /** From before the first apply until all nodes are ready. */
  readonly whole: Window;
  readonly secondsUntilReady: number;
  /** From then on; absent: none is to be. */
  readonly secondsUntilLabelled?: number;
  readonly settled: Window;
  /** Of the operator to Node objects, since its start; in the end so many have the label. */
  readonly nodeWrites: number;
  readonly labelledNodes: number;
  /** What kubelets would have told of their nodes: the operator hears of each. */
  readonly nodeStatuses: { readonly told: number; readonly failed: number };
  readonly peakRssMb: number;
  readonly databaseMb: number;
}

const CONNECT_TIMEOUT_MS = 600_000;
const READY_TIMEOUT_MS = 600_000;
const SETTLED_MS = 30_000;
const ON_THE_BRIDGE = { pod: 'sluice-operator-0', address: BRIDGE_ADDRESS };
/** One after the other, so that what one costs is not taken for what another waits. */
const APPLY_EVERY_MS = 50;

export async function runScale(options: ScaleOptions, signal: AbortSignal): Promise<ScaleRun> {
  const { nodes, distributions, labels } = options;
  const folder = path.join(STATE_FOLDER, `scale-${nodes}-${distributions}-${labels}`);
  const processes = new Processes(folder);
  await processes.prepare();
  const api = await startApiServer();
  const database = await startTestDatabase();
  const origin = await startOrigin();
  const agents = new ScaleAgents();
  const heartbeats = new Heartbeats(api.admin);
  try {
    const parts = { api, database, folder, processes, agents, heartbeats };
    return await measured(options, parts, signal);
  } finally {
    agents.stop();
    await heartbeats.stop();
    await processes.stop();
    // The next run's is to listen on the same port.
    origin.closeAllConnections();
    await new Promise((resolve) => origin.close(resolve));
    await database.stop();
    await api.stop();
  }
}

interface Parts {
  readonly api: TestApiServer;
  readonly database: TestDatabase;
  readonly folder: string;
  readonly processes: Processes;
  readonly agents: ScaleAgents;
  readonly heartbeats: Heartbeats;
}

async function measured(
  { nodes, distributions, transferMs, labels, profile }: ScaleOptions,
  { api, database, folder, processes, agents, heartbeats }: Parts,
  signal: AbortSignal,
): Promise<ScaleRun> {
  const log = (text: string) => console.log(`${nodes}x${distributions}: ${text}`);
  const pods = await createNodes(api.admin, nodes);
  log('nodes and pods are written down');
  heartbeats.start(pods.map(({ node }) => node));
  await applyOrigin(api);
  const { options: mongo } = database.client;
  const mongoUri = `mongodb://${mongo.hosts[0]}/sluice`;
  const operator = await OperatorProcess.start(
    processes,
    {
      folder,
      kubeConfig: api.operatorConfig.exportConfig(),
      mongoUri,
      profile,
      env: { SLUICE_NODE_LABELS: String(labels) },
      ...ON_THE_BRIDGE,
    },
    signal,
  );
  await operator.untilLeading(signal);
  const connectingMs = performance.now();
  await agents.start(pods, { folder, caFile: await caFile(api, folder), transferMs });
  const tasks = taskCount(nodes, distributions);
  const howFar = async () => {
    const { agentsConnected } = await operator.sample();
    const counts = JSON.stringify(agents.counts);
    return `${agentsConnected} of ${nodes} agents connected, ${tasks} tasks to do; agents: ${counts}`;
  };
  const areConnected = async () => (await operator.sample()).agentsConnected === nodes;
  await until('all agents are connected', CONNECT_TIMEOUT_MS, signal, areConnected, howFar);
  const secondsUntilConnected = (performance.now() - connectingMs) / 1000;
  log(`connected after ${secondsUntilConnected.toFixed(1)} s`);

  const before = await operator.sample();
  const appliedAtMs = await applyDistributions(api, { nodes, distributions, labels }, signal);
  const applied = await operator.sample();
  await sleep(transferMs / 2, undefined, { signal });
  const half = await operator.sample();
  const areReady = async () => agents.ready === tasks && (await allReady(api, distributions));
  await until('all nodes are ready', READY_TIMEOUT_MS, signal, areReady, howFar);
  const ready = await operator.sample();
  const secondsUntilReady = (ready.atMs - applied.atMs) / 1000;
  log(`ready after ${secondsUntilReady.toFixed(1)} s`);
  const labelling = labels && { secondsUntilLabelled: await untilLabelled(api, ready, signal) };
  await sleep(SETTLED_MS / 3, undefined, { signal });
  const calm = await operator.sample();
  await sleep(SETTLED_MS, undefined, { signal });
  const last = await operator.sample();
  operator.end();
  await sleep(profile === undefined ? 0 : 10_000, undefined, { signal });
  const firstTasks = [...appliedAtMs].map(([name, atMs]) => {
    return ((agents.firstTaskMs.get(name) ?? Number.POSITIVE_INFINITY) - atMs) / 1000;
  });
  firstTasks.sort((a, b) => a - b);
  const databaseBytes = await database.dataBytes();
  return {
    nodes,
    distributions,
    labels,
    secondsUntilConnected,
    firstTaskSeconds: {
      median: firstTasks[Math.floor(firstTasks.length / 2)] ?? 0,
      worst: firstTasks.at(-1) ?? 0,
    },
    transfer: windowOf(applied, half, distributions),
    whole: windowOf(before, ready, distributions),
    secondsUntilReady,
    ...labelling,
    settled: windowOf(calm, last, distributions),
    nodeWrites: nodeWritesIn(last.kubeRequests),
    labelledNodes: await labelledNodes(api, nameOf(0)),
    nodeStatuses: heartbeats.counts,
    peakRssMb: last.peakRssMb,
    databaseMb: databaseBytes / 1e6,
  };
}

function windowOf(before: OperatorSample, after: OperatorSample, distributions: number): Window {
  const seconds = (after.atMs - before.atMs) / 1000;
  const requests = Object.entries(after.kubeRequests).map(
    ([name, count]) => [name, count - (before.kubeRequests[name] ?? 0)] as const,
  );
  const kubeRequests = Object.fromEntries(requests.filter(([, count]) => count > 0));
  const statusWrites = kubeRequests['PATCH distributions/status'] ?? 0;
  const quantile = (share: number) =>
    quantileBetween(before.reconciliations, after.reconciliations, share);
  return {
    seconds,
    cores: (after.processorSeconds - before.processorSeconds) / seconds,
    rssMb: after.rssMb,
    heapMb: after.heapMb,
    statusWritesPerSecond: statusWrites / seconds,
    statusWritesPerSecondAndDistribution: statusWrites / seconds / distributions,
    kubeRequests,
    reconcileP50Seconds: quantile(0.5),
    reconcileP99Seconds: quantile(0.99),
  };
}

function nameOf(at: number): string {
  return `scale-${at}`;
}

/** Seconds since it was ready. */
async function untilLabelled(
  api: TestApiServer,
  ready: OperatorSample,
  signal: AbortSignal,
): Promise<number> {
  await until('all nodes are labelled', READY_TIMEOUT_MS, signal, () => {
    return areTrue(api, 'NodesLabelled', 1);
  });
  return (performance.now() - ready.atMs) / 1000;
}

function nodeWritesIn(kubeRequests: OperatorSample['kubeRequests']): number {
  const writes = Object.entries(kubeRequests).filter(([name]) => /^(?!GET )\w+ nodes\b/.test(name));
  return writes.reduce((sum, [, count]) => sum + count, 0);
}

/** By name, when it was applied, in milliseconds since the Unix epoch. */
async function applyDistributions(
  api: TestApiServer,
  { nodes, distributions, labels }: Pick<ScaleOptions, 'nodes' | 'distributions' | 'labels'>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const atMs = new Map<string, number>();
  for (let at = 0; at < distributions; at += 1) {
    const name = nameOf(at);
    const url = `http://${BRIDGE_ADDRESS}/file-${at}`;
    const slice = at === 0 ? undefined : at % Math.max(1, Math.floor(nodes / SLICE_NODES));
    atMs.set(name, performance.timeOrigin + performance.now());
    const path = listPath(resources.distributions, 'default');
    const body = distributionBody({ name, url, slice, nodeLabel: labels && at === 0 });
    await api.admin.request({ method: 'POST', path, body });
    await sleep(APPLY_EVERY_MS, undefined, { signal });
  }
  return atMs;
}

function taskCount(nodes: number, distributions: number): number {
  return nodes + (distributions - 1) * Math.min(nodes, SLICE_NODES);
}
