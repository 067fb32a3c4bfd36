/**
 * The test cluster: a real Kubernetes of several nodes on this machine, in namespaces that end with
 * one process. This file is the way in; what it wires is next to it, by concern: sandbox
 * (namespaces), network (links), cgroups, controlPlane, node, forward, images, registrations. Nothing
 * here knows Sluice.
 */
import { randomBytes } from 'node:crypto';
import { copyFile, cp, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { nginxConfig, OriginHost } from '../origin/origin.ts';
import { addonManifest } from './addons.ts';
import { buildClusterBinaries, buildTools } from './build.ts';
import {
  BIN,
  failOnEnded,
  ORIGIN_NAMES,
  STATE,
  setApiServerFrozen,
  startApiServer,
  startControllers,
  TOOLS,
  untilApiReady,
  writeIdentities,
} from './controlPlane.ts';
import { forwardPort, freePort } from './forward.ts';
import { raiseHostLimits } from './hostLimits.ts';
import { imageDisk } from './imageDisk.ts';
import { type Image, pauseImage } from './images.ts';
import { installHostPackages } from './install.ts';
import { buildNetwork, CONTROL, type LinkRate, MAX_NODES, ORIGIN, setLinkRate } from './network.ts';
import { ClusterNode, proxyConfig } from './node.ts';
import { clustersFolder } from './paths.ts';
import {
  forget,
  newClusterName,
  type Registration,
  registrations,
  removeStaleClusters,
  writeRegistration,
} from './registrations.ts';
import { type RunOptions, run } from './run.ts';
import { type Daemon, isAlive, type ProcessId, Sandbox } from './sandbox.ts';

export type { LinkRate } from './network.ts';
export { ClusterNode } from './node.ts';

export interface ClusterOptions {
  readonly nodes: number;
  /** Nodes go round the zones zone-a, zone-b, ... */
  readonly zones: number;
  /** Of each node. */
  readonly linkRate?: LinkRate;
  readonly originLinkRate?: LinkRate;
  /** docker-archives that every node has from the start: much quicker than loadImage. */
  readonly images?: readonly string[];
  /** Logs, keys and disks; a given one keeps its logs after `stop`. */
  readonly stateFolder?: string;
  /** Lives on when this process ends, until `stop` of an attached one. */
  readonly detached?: boolean;
  readonly log?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export type CommandOptions = Pick<RunOptions, 'input' | 'signal' | 'timeoutMs' | 'onLine'>;

const COMMAND_TIMEOUT_MS = 120_000;
const NODES_READY_TIMEOUT_MS = 90_000;

export class Cluster {
  readonly name: string;
  readonly stateFolder: string;
  readonly nodes: readonly ClusterNode[];
  readonly origin: OriginHost;
  /** For this machine: the API server is behind a port of 127.0.0.1. */
  readonly kubeconfigPath: string;
  /** Does not end with the process that started it. */
  readonly detached: boolean;
  private readonly sandbox: Sandbox;
  private readonly ownsStateFolder: boolean;
  private stopping: Promise<void> | undefined;
  private onSignal: ((signal: NodeJS.Signals) => void) | undefined;

  constructor(options: {
    name: string;
    sandbox: Sandbox;
    stateFolder: string;
    ownsStateFolder: boolean;
    detached: boolean;
    nodes: readonly { name: string; zone: string; process?: ProcessId | undefined }[];
  }) {
    const { sandbox, stateFolder } = options;
    this.name = options.name;
    this.sandbox = sandbox;
    this.stateFolder = stateFolder;
    this.ownsStateFolder = options.ownsStateFolder;
    this.detached = options.detached;
    this.kubeconfigPath = path.join(stateFolder, 'kubeconfig');
    this.nodes = options.nodes.map(({ name, zone, process: init }, at) => {
      const place = { clusterName: options.name, index: at + 1, name, zone, stateFolder };
      const node = new ClusterNode(place, sandbox, () => this.register());
      node.attach(init);
      return node;
    });
    this.origin = new OriginHost({
      url: `http://${ORIGIN_NAMES[0]}`,
      address: ORIGIN.address,
      filesFolder: path.join(stateFolder, 'origin/files'),
      controlSocket: sandbox.outside('/run/sluice/meter.sock'),
      setLinkRate: (rate) => setLinkRate(sandbox, ORIGIN.network, rate),
    });
  }

  /** Throws with what kubectl said on its standard error. */
  async kubectl(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    return run(path.join(await buildClusterBinaries(), 'kubectl'), args, this.command(options));
  }

  async helm(args: readonly string[], options: CommandOptions = {}): Promise<string> {
    const home = path.join(this.stateFolder, 'helm');
    const limits = this.command({ timeoutMs: 10 * 60_000, ...options });
    const env = {
      ...limits.env,
      HELM_CACHE_HOME: path.join(home, 'cache'),
      HELM_CONFIG_HOME: path.join(home, 'config'),
      HELM_DATA_HOME: path.join(home, 'data'),
    };
    return run(path.join(await buildClusterBinaries(), 'helm'), args, { ...limits, env });
  }

  /**
   * Puts the image of a docker-archive into the containerd of these nodes, or of all that are
   * powered; a node that has an image of that name keeps it.
   */
  async loadImage({ name, archive }: Image, nodes?: readonly string[]): Promise<void> {
    const wanted: ClusterNode[] = [];
    for (const node of this.nodes) {
      if (nodes ? !nodes.includes(node.name) : node.process === undefined) continue;
      if (!(await node.hasImage(name))) wanted.push(node);
    }
    if (wanted.length === 0) return;
    // The way in must be visible in the nodes, whose /var/lib is their own.
    const file = path.join(this.stateFolder, `image-${randomBytes(6).toString('hex')}.tar`);
    await copyFile(archive, file);
    try {
      const inside = `${STATE}/${path.basename(file)}`;
      await inTurns(2, wanted, (node) => node.importImage(inside));
    } finally {
      await rm(file, { force: true });
    }
  }

  /**
   * A port of 127.0.0.1 that leads to a pod's address, a Service's address, or a Service named
   * `name.namespace`.
   */
  async reach(
    targetHost: string,
    targetPort: number,
  ): Promise<{ port: number; close(): Promise<void> }> {
    const target = /^[\d.]+$/.test(targetHost) ? targetHost : await this.serviceAddress(targetHost);
    const port = await freePort();
    const { stateFolder } = this;
    const close = await forwardPort(this.sandbox, { stateFolder, port, target, targetPort });
    return { port, close };
  }

  /** Whoever asks the API server, kubectl too, waits until it is thawed. */
  freezeApiServer(): Promise<void> {
    return setApiServerFrozen(this.sandbox, true);
  }

  thawApiServer(): Promise<void> {
    return setApiServerFrozen(this.sandbox, false);
  }

  /** Runs a program on the origin's host. */
  runAtOrigin(program: string, args: readonly string[], options?: RunOptions): Promise<string> {
    return this.sandbox.run(ORIGIN, program, args, options);
  }

  /** For a failure: all objects, events, the logs of all pods and of the cluster itself. */
  async dumpState(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    // A frozen API server could say nothing of all that.
    await this.thawApiServer().catch(() => {});
    const ask = async (file: string, args: string[]) => {
      const said = await this.kubectl(args, { timeoutMs: 20_000 }).catch((error) => String(error));
      await writeFile(path.join(folder, file), said);
    };
    const all = 'nodes,pods,deployments,daemonsets,statefulsets,jobs,services,endpointslices';
    const more = 'configmaps,leases,persistentvolumes,persistentvolumeclaims,serviceaccounts';
    await ask('objects.yaml', ['get', `${all},${more}`, '-A', '-o', 'yaml']);
    await ask('pods.txt', ['get', 'pods', '-A', '-o', 'wide']);
    await ask('nodes.txt', ['get', 'nodes', '-o', 'wide']);
    await ask('events.txt', ['get', 'events', '-A', '--sort-by=.lastTimestamp']);
    await ask('describe-pods.txt', ['describe', 'pods', '-A']);
    const kinds = await this.kubectl(['get', 'crd', '-o', 'name']).catch(() => '');
    for (const kind of kinds.trim().split('\n').filter(Boolean)) {
      const name = kind.slice(kind.indexOf('/') + 1);
      await ask(`${name}.yaml`, ['get', name, '-A', '-o', 'yaml']);
    }
    await cp(path.join(this.stateFolder, 'logs'), path.join(folder, 'cluster'), {
      recursive: true,
    }).catch(() => {});
    for (const node of this.nodes) {
      const pods = node.hostPath('/var/log/pods');
      const into = path.join(folder, 'pods', node.name);
      await cp(pods, into, { recursive: true, dereference: true }).catch(() => {});
    }
    const stats = await this.origin.stats().catch((error) => ({ error: String(error) }));
    await writeFile(path.join(folder, 'origin.json'), JSON.stringify(stats, undefined, 1));
  }

  /** Ends every process and mount, removes control groups and disks. Calls after the first wait. */
  stop(): Promise<void> {
    this.stopping ??= this.end();
    return this.stopping;
  }

  /** Ctrl-C and SIGTERM stop the cluster before they take effect. */
  stopOnSignal(): void {
    const onSignal = (signal: NodeJS.Signals) => {
      void this.stop().finally(() => {
        // Others that listen decide what happens next; otherwise what would have happened.
        if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
      });
    };
    this.onSignal = onSignal;
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }

  async register(): Promise<void> {
    const registration: Registration = {
      name: this.name,
      stateFolder: this.stateFolder,
      ownsStateFolder: this.ownsStateFolder,
      detached: this.detached,
      init: this.sandbox.init,
      nodes: this.nodes.map((node) => ({
        name: node.name,
        zone: node.zone,
        process: node.process,
      })),
    };
    await writeRegistration(registration);
  }

  private async end(): Promise<void> {
    for (const node of this.nodes) await node.letDie();
    await this.thawApiServer().catch(() => {});
    await this.sandbox.stop();
    await forget({
      name: this.name,
      stateFolder: this.stateFolder,
      ownsStateFolder: this.ownsStateFolder,
    });
    if (this.onSignal) for (const signal of SIGNALS) process.off(signal, this.onSignal);
  }

  private command(options: CommandOptions): RunOptions {
    return {
      timeoutMs: COMMAND_TIMEOUT_MS,
      ...options,
      env: { KUBECONFIG: this.kubeconfigPath },
    };
  }

  private async serviceAddress(name: string): Promise<string> {
    const [service = '', namespace = 'default'] = name.split('.');
    const address = await this.kubectl([
      ...['get', 'service', service, '-n', namespace, '-o', 'jsonpath={.spec.clusterIP}'],
    ]);
    if (!/^[\d.]+$/.test(address)) throw new Error(`Service ${name} has no address: ${address}`);
    return address;
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Brings a cluster up; resolves when all nodes are Ready. Leaves nothing behind when it fails. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { signal } = options;
  check(options);
  const log = options.log ?? (() => {});
  await installHostPackages({ log: options.log, signal });
  const toolsFolder = await buildTools({ log, signal });
  const binFolder = await buildClusterBinaries({ log: options.log, signal });
  const archives = [await pauseImage(), ...(options.images ?? [])];
  const disk = await imageDisk(archives, { log: options.log, signal });
  await removeStaleClusters(log);
  await raiseHostLimits();

  const name = newClusterName();
  const stateFolder = path.resolve(options.stateFolder ?? path.join(clustersFolder(), name));
  const ownsStateFolder = options.stateFolder === undefined;
  const nodes = nodeNames(options);
  for (const folder of ['logs', 'nodes', 'origin/files', 'origin/scratch']) {
    await mkdir(path.join(stateFolder, folder), { recursive: true });
  }
  const detached = options.detached ?? false;
  const sandbox = await Sandbox.start({ binFolder, toolsFolder, stateFolder, detached }).catch(
    async (error) => {
      await forget({ name, stateFolder, ownsStateFolder });
      throw error;
    },
  );
  const cluster = new Cluster({
    ...{ name, sandbox, stateFolder, ownsStateFolder, detached, nodes },
  });
  cluster.stopOnSignal();
  try {
    await cluster.register();
    await bringUp(cluster, sandbox, { ...options, log, disk });
    return cluster;
  } catch (error) {
    const dump = path.join(stateFolder, 'logs');
    const kept = path.join(clustersFolder(), `failed-${name}-logs`);
    await cp(dump, kept, { recursive: true }).catch(() => {});
    await cluster.stop();
    throw new Error(`the test cluster did not come up; its logs are in ${kept}`, { cause: error });
  }
}

async function bringUp(
  cluster: Cluster,
  sandbox: Sandbox,
  options: ClusterOptions & { log: (line: string) => void; disk: string },
): Promise<void> {
  const { stateFolder, nodes } = cluster;
  const { signal, log } = options;
  const startedAt = performance.now();
  const step = (text: string) =>
    log(`cluster: ${text} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`);
  const names = nodes.map((node) => node.name);
  const apiPort = await freePort();
  const identities = { stateFolder, clusterName: cluster.name, nodes: names, apiPort, signal };
  const [{ adminToken }] = await Promise.all([
    writeIdentities(identities),
    buildNetwork(sandbox, names),
  ]);
  const daemons = await startApiServer(sandbox, stateFolder);
  await forwardPort(sandbox, {
    stateFolder,
    port: apiPort,
    target: CONTROL.address,
    targetPort: 6443,
  });
  daemons.push(...(await startOrigin(cluster, sandbox)));
  const ready = untilApiReady({ port: apiPort, token: adminToken, stateFolder, daemons, signal });
  const runtimes = inTurns(2, nodes, (node) => node.startRuntime(options.disk));
  await Promise.all([ready, runtimes]);
  step('API server and containerd run');

  daemons.push(...(await startControllers(sandbox, stateFolder)));
  await Promise.all(nodes.map((node) => node.startKubelet()));
  await cluster.kubectl(['apply', '--server-side', '-f', '-'], {
    input: addonManifest(names),
    ...(signal ? { signal } : {}),
  });
  daemons.push(await startControlProxy(cluster, sandbox));
  await untilNodesReady(cluster, daemons, signal);
  if (options.linkRate) {
    for (const node of nodes) await node.setLinkRate(options.linkRate);
  }
  if (options.originLinkRate) await cluster.origin.setLinkRate(options.originLinkRate);
  step(`${nodes.length} nodes are Ready`);
}

/** So that the control plane, and what is forwarded into it, reaches Services. */
async function startControlProxy(cluster: Cluster, sandbox: Sandbox): Promise<Daemon> {
  const [first] = cluster.nodes;
  const config = proxyConfig({ hostname: first?.name ?? '', address: CONTROL.address });
  await writeFile(path.join(cluster.stateFolder, 'control-proxy.yaml'), config);
  const log = path.join(cluster.stateFolder, 'logs/control-kube-proxy.log');
  return sandbox.daemon(CONTROL, 'kube-proxy', log, `${BIN}/kube-proxy`, [
    `--config=${STATE}/control-proxy.yaml`,
  ]);
}

async function startOrigin(cluster: Cluster, sandbox: Sandbox): Promise<Daemon[]> {
  const upstream = '127.0.0.1:8080';
  const config = nginxConfig({
    listen: upstream,
    filesFolder: `${STATE}/origin/files`,
    scratchFolder: `${STATE}/origin/scratch`,
  });
  await writeFile(path.join(cluster.stateFolder, 'origin/nginx.conf'), config);
  const logs = path.join(cluster.stateFolder, 'logs');
  return Promise.all([
    sandbox.daemon(ORIGIN, 'nginx', path.join(logs, 'nginx.log'), 'nginx', [
      ...['-e', 'stderr', '-p', `${STATE}/origin`, '-c', `${STATE}/origin/nginx.conf`],
    ]),
    sandbox.daemon(ORIGIN, 'meter', path.join(logs, 'meter.log'), `${TOOLS}/meter`, [
      ...['-listen', ':80', '-upstream', upstream, '-control', '/run/sluice/meter.sock'],
    ]),
  ]);
}

async function untilNodesReady(
  cluster: Cluster,
  daemons: readonly Daemon[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const giveUpAt = performance.now() + NODES_READY_TIMEOUT_MS;
  const jsonpath =
    '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {.spec.taints}{"\\n"}{end}';
  for (let said = ''; ; ) {
    signal?.throwIfAborted();
    await failOnEnded([...daemons, ...cluster.nodes.flatMap((node) => node.daemons())]);
    said = await cluster.kubectl(['get', 'nodes', '-o', `jsonpath=${jsonpath}`]).catch(String);
    const ready = said.split('\n').filter((line) => line.trim() === 'True').length;
    if (ready === cluster.nodes.length) return;
    if (performance.now() > giveUpAt) throw new Error(`nodes are not Ready:\n${said}`);
    await sleep(250);
  }
}

async function inTurns<T>(
  width: number,
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  const left = [...items];
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

function check({ nodes, zones }: ClusterOptions): void {
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > MAX_NODES) {
    throw new Error(`nodes must be a whole number from 1 to ${MAX_NODES}, not ${nodes}`);
  }
  if (!Number.isInteger(zones) || zones < 1 || zones > 26) {
    throw new Error(`zones must be a whole number from 1 to 26, not ${zones}`);
  }
}

function nodeNames({ nodes, zones }: ClusterOptions): { name: string; zone: string }[] {
  return Array.from({ length: nodes }, (_, at) => ({
    name: `node-${at + 1}`,
    zone: `zone-${'abcdefghijklmnopqrstuvwxyz'[at % zones]}`,
  }));
}

/** Clusters that run, the oldest first. */
export async function runningClusters(): Promise<Cluster[]> {
  const running: Cluster[] = [];
  for (const registration of await registrations()) {
    if (!(await isAlive(registration.init))) continue;
    running.push(new Cluster({ ...registration, sandbox: Sandbox.attach(registration.init) }));
  }
  return running;
}
