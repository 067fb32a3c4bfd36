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
import { createNodes, distributionBody, SLICE_NODES } from './kubernetes.ts';
import { quantileBetween } from './metricsText.ts';
import { OperatorProcess, type OperatorSample } from './operatorProcess.ts';
import { allReady, applyOrigin, caFile, startOrigin, until } from './surroundings.ts';

export interface ScaleOptions {
  readonly nodes: number;
  readonly distributions: number;
  readonly transferMs: number;
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
  readonly secondsUntilConnected: number;
  readonly firstTaskSeconds: { readonly median: number; readonly worst: number };
  /** From the last apply on, while nodes transfer. */
  readonly transfer: Window;
  /** From before the first apply until all nodes are ready. */
  readonly whole: Window;
  readonly secondsUntilReady: number;
  readonly settled: Window;
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
  const folder = path.join(STATE_FOLDER, `scale-${options.nodes}-${options.distributions}`);
  const processes = new Processes(folder);
  await processes.prepare();
  const api = await startApiServer();
  const database = await startTestDatabase();
  const origin = await startOrigin();
  const agents = new ScaleAgents();
  try {
    return await measured(options, { api, database, folder, processes, agents }, signal);
  } finally {
    agents.stop();
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
}

async function measured(
  { nodes, distributions, transferMs, profile }: ScaleOptions,
  { api, database, folder, processes, agents }: Parts,
  signal: AbortSignal,
): Promise<ScaleRun> {
  const log = (text: string) => console.log(`${nodes}x${distributions}: ${text}`);
  const pods = await createNodes(api.admin, nodes);
  log('nodes and pods are written down');
  await applyOrigin(api);
  const { options: mongo } = database.client;
  const mongoUri = `mongodb://${mongo.hosts[0]}/sluice`;
  const operator = await OperatorProcess.start(
    processes,
    { folder, kubeConfig: api.operatorConfig.exportConfig(), mongoUri, profile, ...ON_THE_BRIDGE },
    signal,
  );
  await operator.untilLeading(signal);
  const connectingMs = performance.now();
  await agents.start(pods, { folder, caFile: await caFile(api, folder), transferMs });
  await until('all agents are connected', CONNECT_TIMEOUT_MS, signal, async () => {
    const { agentsConnected } = await operator.sample();
    return agentsConnected === nodes;
  });
  const secondsUntilConnected = (performance.now() - connectingMs) / 1000;
  log(`connected after ${secondsUntilConnected.toFixed(1)} s`);

  const before = await operator.sample();
  const appliedAtMs = await applyDistributions(api, nodes, distributions, signal);
  const applied = await operator.sample();
  await sleep(transferMs / 2, undefined, { signal });
  const half = await operator.sample();
  const tasks = taskCount(nodes, distributions);
  await until('all nodes are ready', READY_TIMEOUT_MS, signal, async () => {
    return agents.ready === tasks && (await allReady(api, distributions));
  });
  const ready = await operator.sample();
  const secondsUntilReady = (ready.atMs - applied.atMs) / 1000;
  log(`ready after ${secondsUntilReady.toFixed(1)} s`);
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
    secondsUntilConnected,
    firstTaskSeconds: {
      median: firstTasks[Math.floor(firstTasks.length / 2)] ?? 0,
      worst: firstTasks.at(-1) ?? 0,
    },
    transfer: windowOf(applied, half, distributions),
    whole: windowOf(before, ready, distributions),
    secondsUntilReady,
    settled: windowOf(calm, last, distributions),
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

/** By name, when it was applied, in milliseconds since the Unix epoch. */
async function applyDistributions(
  api: TestApiServer,
  nodes: number,
  distributions: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const atMs = new Map<string, number>();
  for (let at = 0; at < distributions; at += 1) {
    const name = `scale-${at}`;
    const url = `http://${BRIDGE_ADDRESS}/file-${at}`;
    const slice = at === 0 ? undefined : at % Math.max(1, Math.floor(nodes / SLICE_NODES));
    atMs.set(name, performance.timeOrigin + performance.now());
    const path = listPath(resources.distributions, 'default');
    const body = distributionBody({ name, url, slice });
    await api.admin.request({ method: 'POST', path, body });
    await sleep(APPLY_EVERY_MS, undefined, { signal });
  }
  return atMs;
}

function taskCount(nodes: number, distributions: number): number {
  return nodes + (distributions - 1) * Math.min(nodes, SLICE_NODES);
}
