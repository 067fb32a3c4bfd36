/** One cluster, whose leader is killed again and again: how its agents come to the next one. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { listPath, objectPath, resources } from '@sluice/operator/kube/paths.ts';
import { startApiServer, type TestApiServer } from '@sluice/operator/testing/adapters/apiServer.ts';
import { startTestDatabase } from '@sluice/operator/testing/adapters/testDatabase.ts';
import { cpuBusyShare, parseCpuTimes } from '../../../e2e/demo/cpu.ts';
import { percentile } from '../figures.ts';
import { onHost } from '../links.ts';
import { BRIDGE_ADDRESS, STATE_FOLDER } from '../namespaces.ts';
import { Processes } from '../processes.ts';
import { ScaleAgents } from './agents.ts';
import { ApiDoor } from './apiDoor.ts';
import {
  makeReplicaHosts,
  type ReplicaHost,
  removeReplicaHosts,
  replicaHosts,
  setEndpoints,
} from './controlService.ts';
import { createNodes, distributionBody, NAMESPACE } from './kubernetes.ts';
import { OperatorProcess } from './operatorProcess.ts';
import { mostInAnySecond } from './reviews.ts';
import { allReady, applyOrigin, caFile, startOrigin, until } from './surroundings.ts';

export interface LeaderChangeOptions {
  readonly agents: number;
  readonly replicas: number;
  readonly kills: number;
  /** How long transfers take: short, and all is delivered before the first leader is killed. */
  readonly transferMs: number;
  /** A folder for V8's processor profile of the last leader, from its start on. */
  readonly profile: string | undefined;
}

/** Times from the kill on where nothing else is said. */
interface LeaderChange {
  readonly secondsUntilLeaseHeld: number;
  /** From the moment on at which the next leader held the Lease. */
  readonly secondsUntilHalfReached: number;
  readonly secondsUntilAllReached: number;
  readonly secondsFromKillUntilAllReached: number;
  readonly reviewsInAnySecond: number;
  readonly reviews: number;
  readonly redirected: number;
  readonly refused: number;
  readonly connections: number;
  readonly unreachable: number;
  /** Of the next leader, from the Lease until all have reached it. */
  readonly leaderProcessorSeconds: number;
  readonly leaderRssMb: number;
  readonly leaderPeakRssMb: number;
  readonly leaderOpenFiles: number;
  /** Of processors' time, in the same seconds. */
  readonly agentsProcessorSeconds: number;
  readonly cpuBusyShare: number;
}

export interface LeaderChangeRun {
  readonly agents: number;
  readonly replicas: number;
  /** While all agents buy their first sessions. */
  readonly start: {
    readonly secondsUntilConnected: number;
    readonly reviews: number;
    readonly reviewsInAnySecond: number;
  };
  readonly changes: readonly LeaderChange[];
  /** Over the whole run: at the door, and by the API server's own counter. */
  readonly reviews: { readonly seen: number; readonly counted: number };
}

const CONNECT_TIMEOUT_MS = 900_000;
const REACH_TIMEOUT_MS = 180_000;
/** A kubelet that sees its container end, and kube-proxy that hears of it. */
const ENDPOINT_GONE_MS = 1_000;
/** Sessions that are bought late belong to the change, too. */
const AFTER_MS = 10_000;
const CALM_MS = 5_000;
const LOOK_MS = 50;
const SAY_MS = 10_000;
const PROFILE_MS = 10_000;

export async function runLeaderChanges(
  options: LeaderChangeOptions,
  signal: AbortSignal,
): Promise<LeaderChangeRun> {
  const folder = path.join(STATE_FOLDER, `leader-${options.agents}`);
  const processes = new Processes(folder);
  await processes.prepare();
  const api = await startApiServer();
  const database = await startTestDatabase();
  const origin = await startOrigin();
  const door = new ApiDoor(api);
  await door.open(BRIDGE_ADDRESS);
  const databasePort = Number(database.client.options.hosts[0]?.port);
  const hosts = replicaHosts(options.replicas);
  await makeReplicaHosts(hosts, databasePort);
  const agents = new ScaleAgents();
  const mongoUri = `mongodb://${BRIDGE_ADDRESS}:${databasePort}/sluice`;
  const world = new World(options, { api, door, agents, processes, folder, mongoUri, signal });
  try {
    return await world.run(hosts);
  } finally {
    agents.stop();
    await processes.stop();
    await removeReplicaHosts(hosts);
    await door.close();
    origin.closeAllConnections();
    await new Promise((resolve) => origin.close(resolve));
    await database.stop();
    await api.stop();
  }
}

interface Parts {
  readonly api: TestApiServer;
  readonly door: ApiDoor;
  readonly agents: ScaleAgents;
  readonly processes: Processes;
  readonly folder: string;
  readonly mongoUri: string;
  readonly signal: AbortSignal;
}

class World {
  readonly #options: LeaderChangeOptions;
  readonly #parts: Parts;
  #replicas: OperatorProcess[] = [];

  constructor(options: LeaderChangeOptions, parts: Parts) {
    this.#options = options;
    this.#parts = parts;
  }

  async run(hosts: readonly ReplicaHost[]): Promise<LeaderChangeRun> {
    const { agents, replicas, kills } = this.#options;
    const { api, door, signal } = this.#parts;
    const pods = await createNodes(api.admin, agents);
    await applyOrigin(api);
    this.#log('nodes and pods are written down');
    this.#replicas = await Promise.all(hosts.map((host) => this.#startReplica(host)));
    await setEndpoints(this.#replicas.map(({ address }) => address));
    await this.#untilLed();
    const start = await this.#connect(pods);
    await this.#deliver();
    const changes: LeaderChange[] = [];
    while (changes.length < kills) {
      await sleep(CALM_MS, undefined, { signal });
      const change = await this.#change();
      this.#log(JSON.stringify(change));
      changes.push(change);
      if (changes.length < kills) await this.#replace(hosts);
    }
    if (this.#options.profile !== undefined) {
      (await this.#leader()).end();
      await sleep(PROFILE_MS, undefined, { signal });
    }
    const reviews = { seen: door.reviewedMs.length, counted: await door.reviewsCounted() };
    return { agents, replicas, start, changes, reviews };
  }

  #startReplica(host: ReplicaHost): Promise<OperatorProcess> {
    const { door, folder, mongoUri, processes, signal } = this.#parts;
    const { profile } = this.#options;
    const { name: pod, address } = host;
    const within = onHost(host, []);
    const { kubeConfig } = door;
    const options = { folder, kubeConfig, mongoUri, profile, pod, address, within };
    return OperatorProcess.start(processes, options, signal);
  }

  /** All at once, as when a cluster comes up. */
  async #connect(pods: Parameters<ScaleAgents['start']>[0]): Promise<LeaderChangeRun['start']> {
    const { agents, api, door, folder, signal } = this.#parts;
    const { transferMs } = this.#options;
    const beganMs = Date.now();
    await agents.start(pods, { folder, caFile: await caFile(api, folder), transferMs });
    await until('all agents are connected', CONNECT_TIMEOUT_MS, signal, async () => {
      this.#check();
      return agents.openedMs.size === pods.length;
    });
    const secondsUntilConnected = (Math.max(...agents.openedMs.values()) - beganMs) / 1000;
    this.#log(`connected after ${secondsUntilConnected.toFixed(1)} s`);
    const reviewed = door.reviewedMs.filter((atMs) => atMs >= beganMs);
    const reviewsInAnySecond = mostInAnySecond(reviewed);
    return { secondsUntilConnected, reviews: reviewed.length, reviewsInAnySecond };
  }

  async #deliver(): Promise<void> {
    const { agents, api, signal } = this.#parts;
    const body = distributionBody({
      name: 'everywhere',
      url: `http://${BRIDGE_ADDRESS}/file`,
      slice: undefined,
    });
    const path = listPath(resources.distributions, 'default');
    await api.admin.request({ method: 'POST', path, body });
    await until('all nodes have their task', CONNECT_TIMEOUT_MS, signal, async () => {
      this.#check();
      return agents.counts.tasks === this.#options.agents;
    });
    if (this.#options.transferMs > CONNECT_TIMEOUT_MS) return;
    await until('all nodes are ready', CONNECT_TIMEOUT_MS, signal, () => allReady(api, 1));
    this.#log('delivered');
  }

  async #change(): Promise<LeaderChange> {
    const { agents, door, signal } = this.#parts;
    const before = agents.counts;
    const killedMs = Date.now();
    const killed = await this.#leader();
    await killed.kill();
    const gone = sleep(ENDPOINT_GONE_MS).then(() => this.#setEndpoints());
    const { leader, heldMs } = await this.#untilLed(killed);
    await gone;
    const then = this.#look(leader);
    let openFiles = 0;
    const deadline = Date.now() + REACH_TIMEOUT_MS;
    let saidMs = Date.now();
    for (;;) {
      const reached = this.#reachedMs(heldMs).length;
      if (reached === this.#options.agents) break;
      if (Date.now() > deadline) {
        throw new Error(`only ${reached} agents reached the next leader`);
      }
      if (Date.now() - saidMs >= SAY_MS) {
        saidMs = Date.now();
        this.#log(`${reached} have reached the next leader, ${JSON.stringify(agents.counts)}`);
      }
      this.#check();
      openFiles = Math.max(openFiles, openFilesOf(leader.pid));
      await sleep(LOOK_MS, undefined, { signal });
    }
    const now = this.#look(leader);
    const reachedMs = this.#reachedMs(heldMs);
    const allMs = reachedMs.at(-1) ?? heldMs;
    await sleep(AFTER_MS, undefined, { signal });
    const after = agents.counts;
    const reviewed = door.reviewedMs.filter((atMs) => atMs >= killedMs);
    const { rssMb, peakRssMb } = await leader.sample();
    return {
      secondsUntilLeaseHeld: (heldMs - killedMs) / 1000,
      secondsUntilHalfReached: (percentile(reachedMs, 0.5) - heldMs) / 1000,
      secondsUntilAllReached: (allMs - heldMs) / 1000,
      secondsFromKillUntilAllReached: (allMs - killedMs) / 1000,
      reviewsInAnySecond: mostInAnySecond(reviewed),
      reviews: reviewed.length,
      redirected: after.redirected - before.redirected,
      refused: after.refused - before.refused,
      connections: after.connections - before.connections,
      unreachable: after.unreachable - before.unreachable,
      leaderProcessorSeconds: now.leader - then.leader,
      leaderRssMb: rssMb,
      leaderPeakRssMb: peakRssMb,
      leaderOpenFiles: openFiles,
      agentsProcessorSeconds: now.agents - then.agents,
      cpuBusyShare: cpuBusyShare(then.machine, now.machine),
    };
  }

  #look(leader: OperatorProcess) {
    const { agents } = this.#parts;
    const machine = parseCpuTimes(readFileSync('/proc/stat', 'utf8'));
    return { leader: leader.processorSeconds, agents: agents.processorSeconds, machine };
  }

  /** Ascending; a stream that opened again counts as of then. */
  #reachedMs(sinceMs: number): number[] {
    const all = [...this.#parts.agents.openedMs.values()];
    return all.filter((atMs) => atMs >= sinceMs).sort((a, b) => a - b);
  }

  #setEndpoints(): Promise<void> {
    const ready = this.#replicas.filter(({ isKilled }) => !isKilled);
    return setEndpoints(ready.map(({ address }) => address));
  }

  /**
   * As its Deployment makes another pod, but only when nobody else stands by: it would take a
   * processor, and FerretDB now and then hangs when an index is asked for while rows are written.
   */
  async #replace(hosts: readonly ReplicaHost[]): Promise<void> {
    if (this.#replicas.filter(({ isKilled }) => !isKilled).length > 1) return;
    const at = this.#replicas.findIndex(({ isKilled }) => isKilled);
    this.#replicas[at] = await this.#startReplica(hosts[at] as ReplicaHost);
    await this.#setEndpoints();
  }

  async #leader(): Promise<OperatorProcess> {
    const { leader } = await this.#untilLed();
    return leader;
  }

  /** Until another one than this leads, and since when by the Lease itself. */
  async #untilLed(before?: OperatorProcess): Promise<{ leader: OperatorProcess; heldMs: number }> {
    const { api, signal } = this.#parts;
    const path = objectPath(resources.leases, { namespace: NAMESPACE, name: 'sluice-operator' });
    const deadline = Date.now() + REACH_TIMEOUT_MS;
    for (;;) {
      this.#check();
      const lease = await api.admin.request<LeaseObject>({ method: 'GET', path }).catch(() => {});
      const { holderIdentity = '', acquireTime = '' } = lease?.spec ?? {};
      const leader = this.#replicas.find(({ pod }) => holderIdentity.startsWith(`${pod}/`));
      if (leader !== undefined && leader !== before) {
        return { leader, heldMs: Date.parse(acquireTime) };
      }
      if (Date.now() > deadline) throw new Error('nobody else leads');
      await sleep(LOOK_MS, undefined, { signal });
    }
  }

  #check(): void {
    for (const replica of this.#replicas) replica.check();
  }

  #log(text: string): void {
    console.log(`${this.#options.agents} agents: ${text}`);
  }
}

interface LeaseObject {
  readonly spec: { readonly holderIdentity?: string; readonly acquireTime?: string };
}

function openFilesOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return existsSync(folder) ? readdirSync(folder).length : 0;
}
