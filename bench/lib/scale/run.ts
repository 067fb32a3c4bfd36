/** One run: a cluster of so many nodes is written down, served, watched, and ended. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { listPath, resources } from '@sluice/operator/kube/paths.ts';
import { startApiServer, type TestApiServer } from '@sluice/operator/testing/adapters/apiServer.ts';
import {
  startTestDatabase,
  type TestDatabase,
} from '@sluice/operator/testing/adapters/testDatabase.ts';
import { BRIDGE_ADDRESS, OPERATOR_HOST, STATE_FOLDER } from '../namespaces.ts';
import { Processes } from '../processes.ts';
import type { ScaleAgentsMessage, ScaleAgentsOptions } from '../programs/scaleAgents.ts';
import {
  createNodes,
  distributionBody,
  NAMESPACE,
  type NodePod,
  SLICE_NODES,
} from './kubernetes.ts';
import { quantileBetween } from './metricsText.ts';
import { OperatorProcess, type OperatorSample } from './operatorProcess.ts';

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
  readonly secondsUntilReady: number;
  readonly settled: Window;
  readonly peakRssMb: number;
  readonly databaseMb: number;
}

const PROGRAM = path.join(import.meta.dirname, '../programs/scaleAgents.ts');
const AGENT_PROCESSES = Math.max(2, availableParallelism());
const FILE_BYTES = 8 * 1024 ** 3;
const CONNECT_TIMEOUT_MS = 600_000;
const READY_TIMEOUT_MS = 600_000;
const SETTLED_MS = 30_000;
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
    { folder, kubeConfig: api.operatorConfig, mongoUri, profile },
    signal,
  );
  const connectingMs = performance.now();
  await agents.start(pods, { folder, caFile: await caFile(api, folder), transferMs });
  await until('all agents are connected', CONNECT_TIMEOUT_MS, signal, async () => {
    const { agentsConnected } = await operator.sample();
    return agentsConnected === nodes;
  });
  const secondsUntilConnected = (performance.now() - connectingMs) / 1000;
  log(`connected after ${secondsUntilConnected.toFixed(1)} s`);

  const appliedAtMs = await applyDistributions(api, nodes, distributions, signal);
  const applied = await operator.sample();
  await sleep(transferMs / 2, undefined, { signal });
  const half = await operator.sample();
  const tasks = taskCount(nodes, distributions);
  await until('all nodes are ready', READY_TIMEOUT_MS, signal, async () => {
    return agents.ready === tasks && (await allReady(api, distributions));
  });
  const secondsUntilReady = (performance.now() - applied.atMs) / 1000;
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

/** Agents in processes of their own, as many as there are processors. */
class ScaleAgents {
  readonly firstTaskMs = new Map<string, number>();
  readonly #ready = new Map<ChildProcess, number>();

  get ready(): number {
    return [...this.#ready.values()].reduce((sum, count) => sum + count, 0);
  }

  async start(
    pods: readonly NodePod[],
    options: Pick<ScaleAgentsOptions, 'folder' | 'caFile' | 'transferMs'>,
  ): Promise<void> {
    const controlUrl = `https://${OPERATOR_HOST}:8443`;
    for (let at = 0; at < AGENT_PROCESSES; at += 1) {
      const child = fork(PROGRAM, { execArgv: ['--max-old-space-size=6144'] });
      this.#ready.set(child, 0);
      child.on('message', (message: ScaleAgentsMessage) => {
        if (message.type === 'counts') this.#ready.set(child, message.ready);
        else this.#saw(message.name, message.atMs);
      });
      await once(child, 'spawn');
      const agents = pods.filter((_, index) => index % AGENT_PROCESSES === at);
      child.send({ ...options, controlUrl, agents } satisfies ScaleAgentsOptions);
    }
  }

  stop(): void {
    for (const child of this.#ready.keys()) child.kill('SIGKILL');
  }

  #saw(name: string, atMs: number): void {
    this.firstTaskMs.set(name, Math.min(atMs, this.firstTaskMs.get(name) ?? atMs));
  }
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

async function allReady(api: TestApiServer, distributions: number): Promise<boolean> {
  interface List {
    items: { status?: { conditions?: { type: string; status: string }[] } }[];
  }
  const path = listPath(resources.distributions, 'default');
  const { items } = await api.admin.request<List>({ method: 'GET', path });
  const ready = items.filter(({ status }) =>
    status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
  );
  return ready.length === distributions;
}

async function applyOrigin(api: TestApiServer): Promise<void> {
  await api.admin.request({
    method: 'POST',
    path: listPath(resources.origins),
    body: {
      apiVersion: 'sluice.dev/v1alpha1',
      kind: 'Origin',
      metadata: { name: 'bench' },
      spec: {
        hosts: [BRIDGE_ADDRESS],
        limits: { maxConnections: 64, maxBandwidth: '1Gi' },
        allowPrivateAddresses: true,
      },
    },
  });
}

/** As it is mounted into the agents' pods. */
async function caFile(api: TestApiServer, folder: string): Promise<string> {
  const path_ = `/api/v1/namespaces/${NAMESPACE}/configmaps/sluice-ca`;
  const { data } = await api.admin.request<{ data: Record<string, string> }>({
    method: 'GET',
    path: path_,
  });
  const file = path.join(folder, 'ca.crt');
  await writeFile(file, data['ca.crt'] ?? '');
  return file;
}

/** Answers each probe: a file of 8 GiB whose first byte is wanted. */
async function startOrigin(): Promise<Server> {
  const server = createServer((_request, response) => {
    response.writeHead(206, {
      'content-range': `bytes 0-0/${FILE_BYTES}`,
      'content-length': 1,
      etag: '"bench"',
    });
    response.end('x');
  });
  server.listen(80, BRIDGE_ADDRESS);
  await once(server, 'listening');
  return server;
}

async function until(
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
  is: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await is())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    await sleep(1000, undefined, { signal });
  }
}
