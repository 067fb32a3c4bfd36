/** Sluice in a test cluster, installed from its chart as a user would, and what one asks of it. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chartValues } from '../cluster/chartValues.ts';
import type { Cluster, ClusterNode } from '../cluster/cluster.ts';
import type { SluiceImages } from '../cluster/images.ts';
import { repositoryRoot } from '../cluster/paths.ts';
import { type NodeView, ReadClient } from './readClient.ts';

export const NAMESPACE = 'sluice-system';
/** Folder of the agents on every node. */
export const ROOT = '/var/lib/sluice';
const INSTALL_TIMEOUT = '3m';
const POLL_MS = 250;

/** A condition, event or number that a test looks for, as far as kubectl's JSON has it. */
export interface DistributionObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly generation: number;
  };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
    readonly epoch?: { readonly number: number };
    readonly nodes?: { readonly desired: number; readonly ready: number; readonly failed: number };
    readonly bytes?: { readonly fromOrigin: number };
    readonly failedNodes?: readonly {
      readonly name: string;
      readonly reason: string;
      readonly message: string;
    }[];
  };
}

export interface Pod {
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  readonly address: string;
}

export class Sluice {
  readonly cluster: Cluster;
  readonly read: ReadClient;
  /** Ends what is waited for from now on. */
  signal: AbortSignal | undefined;

  constructor(cluster: Cluster, read: ReadClient, signal?: AbortSignal) {
    this.cluster = cluster;
    this.read = read;
    this.signal = signal;
  }

  async apply(...objects: readonly object[]): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    await this.cluster.kubectl(['apply', '-f', '-'], { input: JSON.stringify(list) });
  }

  async distribution(name: string, namespace = 'default'): Promise<DistributionObject> {
    const args = ['get', 'distribution', name, '-n', namespace, '-o', 'json'];
    return JSON.parse(await this.cluster.kubectl(args)) as DistributionObject;
  }

  /** Deletes it and waits until the object is gone. */
  async remove(name: string, timeoutMs = 60_000): Promise<void> {
    const args = ['delete', 'distribution', name, '-n', 'default', '--ignore-not-found'];
    await this.cluster.kubectl([...args, `--timeout=${timeoutMs / 1000}s`], {
      timeoutMs: timeoutMs + 10_000,
      signal: this.signal,
    });
  }

  async originStatus(name: string): Promise<{ usage?: { connections: number } }> {
    const said = await this.cluster.kubectl(['get', 'origin', name, '-o', 'json']);
    return (JSON.parse(said) as { status?: { usage?: { connections: number } } }).status ?? {};
  }

  /** Events about a Distribution, the oldest first. */
  async events(name: string, namespace = 'default'): Promise<{ reason: string; note: string }[]> {
    const args = ['get', 'events.events.k8s.io', '-n', namespace, '-o', 'json'];
    const { items } = JSON.parse(await this.cluster.kubectl(args)) as {
      items: { regarding: { name: string }; reason: string; note: string; eventTime: string }[];
    };
    return items
      .filter(({ regarding }) => regarding.name === name)
      .sort((a, b) => (a.eventTime < b.eventTime ? -1 : 1));
  }

  untilEvent(name: string, reason: string): Promise<{ reason: string; note: string }> {
    return this.until(`event ${reason} of ${name}`, async () => {
      return (await this.events(name)).find((event) => event.reason === reason);
    });
  }

  /** Waits until some node, or this one, holds so many verified bytes. */
  async untilVerified(uid: string, bytes: number, node?: string): Promise<NodeView> {
    return this.until(`${bytes} verified bytes`, async () => {
      const nodes = await this.read.assignments(uid);
      return nodes.find(
        ({ name, verifiedBytes }) =>
          (node === undefined || name === node) && verifiedBytes >= bytes,
      );
    });
  }

  /** Polls until `check` says so; its last complaint is the error. */
  async until<T>(
    what: string,
    check: () => Promise<T | undefined>,
    timeoutMs = 60_000,
  ): Promise<T> {
    const { signal } = this;
    const endsAt = performance.now() + timeoutMs;
    let complaint: unknown;
    while (performance.now() < endsAt) {
      try {
        const found = await check();
        if (found !== undefined) return found;
        complaint = undefined;
      } catch (error) {
        complaint = error;
      }
      await sleep(POLL_MS, undefined, signal && { signal });
    }
    throw new Error(`${what}: not within ${timeoutMs / 1000} s`, { cause: complaint });
  }

  async untilReady(
    name: string,
    { namespace = 'default', timeoutMs = 120_000 } = {},
  ): Promise<DistributionObject> {
    const args = ['wait', `distribution/${name}`, '-n', namespace, '--for=condition=Ready'];
    try {
      await this.cluster.kubectl([...args, `--timeout=${timeoutMs / 1000}s`], {
        timeoutMs: timeoutMs + 10_000,
        signal: this.signal,
      });
    } catch (cause) {
      const now = await this.distribution(name, namespace).catch(() => undefined);
      throw new Error(`${name} is not Ready: ${JSON.stringify(now?.status)}`, { cause });
    }
    return this.distribution(name, namespace);
  }

  /** Ready with this epoch: one that is Ready may still be so with the one before. */
  untilEpoch(name: string, epoch: number): Promise<DistributionObject> {
    return this.until(`epoch ${epoch} of ${name}`, async () => {
      const found = await this.distribution(name);
      const { status } = found;
      const isReady = conditionOf(status, 'Ready')?.status === 'True';
      if (isReady && status?.epoch?.number === epoch) return found;
      throw new Error(JSON.stringify(status));
    });
  }

  /** Its status is of the spec of now. */
  untilObserved(name: string): Promise<DistributionObject> {
    return this.until(`the spec of ${name} is observed`, async () => {
      const found = await this.distribution(name);
      return found.status?.observedGeneration === found.metadata.generation ? found : undefined;
    });
  }

  /** Pods of a component that run. */
  async pods(component: 'operator' | 'relay' | 'agent' | 'mongodb'): Promise<Pod[]> {
    const selector = `app.kubernetes.io/name=sluice,app.kubernetes.io/component=${component}`;
    const args = ['get', 'pods', '-n', NAMESPACE, '-l', selector, '-o', 'json'];
    const { items } = JSON.parse(await this.cluster.kubectl(args)) as {
      items: {
        metadata: { name: string; uid: string };
        spec: { nodeName: string };
        status: { phase: string; podIP: string };
      }[];
    };
    return items
      .filter(({ status }) => status.phase === 'Running')
      .map(({ metadata: { name, uid }, spec: { nodeName: node }, status: { podIP: address } }) => {
        return { name, uid, node, address };
      });
  }

  /** The operator's pod that leads, if one does. */
  async leader(): Promise<Pod | undefined> {
    const identity = await this.leaderIdentity();
    const pods = await this.pods('operator');
    return pods.find(({ name }) => identity.startsWith(`${name}/`));
  }

  /** Another one in each process, also of the same pod; empty when the last leader gave it back. */
  leaderIdentity(): Promise<string> {
    const lease = ['get', 'lease', 'sluice-operator', '-n', NAMESPACE, '-o'];
    return this.cluster.kubectl([...lease, 'jsonpath={.spec.holderIdentity}']);
  }

  async untilLeaderOtherThan(identity: string, timeoutMs?: number): Promise<string> {
    const look = async () => {
      const now = await this.leaderIdentity();
      return now === '' || now === identity ? undefined : now;
    };
    return this.until('another leader', look, timeoutMs);
  }

  /** Until each node has an agent that is ready and of the newest template. */
  untilAgentsReady(): Promise<void> {
    return rolledOut(this.cluster, AGENTS);
  }

  /** Where a distribution's file is on a node, for this process. */
  placed(node: ClusterNode, name: string, file: string, namespace = 'default'): string {
    return node.hostPath(path.posix.join(ROOT, namespace, name, file));
  }

  root(node: ClusterNode): string {
    return node.hostPath(ROOT);
  }
}

type Status = NonNullable<DistributionObject['status']>;
type Condition = NonNullable<Status['conditions']>[number];

export function conditionOf(status: Status | undefined, type: string): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

/** What of the chart's values a test sets besides the images. */
interface Settings {
  readonly relayIdleSeconds?: number;
  readonly nodeLabels?: boolean;
  /** How often agents check what they have placed. */
  readonly checkSeconds?: number;
  readonly rehashSeconds?: number;
  /** What agents tolerate besides what every DaemonSet does; absent: every taint. */
  readonly agentTolerations?: readonly object[];
  readonly namespaceShares?: Readonly<Record<string, string>>;
  readonly operatorReplicas?: number;
  /** Instead of the tags of the images for relays and agents. */
  readonly fleetTag?: string;
}

/** Where they are in the chart. */
const VALUES: Readonly<Record<keyof Settings, readonly string[]>> = {
  relayIdleSeconds: ['relay.idleSeconds'],
  nodeLabels: ['workloads.nodeLabels'],
  checkSeconds: ['agent.checkSeconds'],
  rehashSeconds: ['agent.rehashSeconds'],
  agentTolerations: ['agent.tolerations'],
  namespaceShares: ['agent.namespaceShares.namespaces'],
  operatorReplicas: ['operator.replicas'],
  fleetTag: ['relay.image.tag', 'agent.image.tag'],
};

const AGENTS = 'daemonset/sluice-agent';

/** Helm-installs the chart and waits until the operator and every agent are ready. */
export async function installSluice(
  cluster: Cluster,
  images: SluiceImages,
  settings: Settings = {},
): Promise<Sluice> {
  const values = valuesFile(cluster);
  await mkdir(path.dirname(values), { recursive: true });
  await writeFile(values, JSON.stringify(chartValues(images)));
  return installAgain(cluster, settings);
}

function valuesFile(cluster: Cluster): string {
  return path.join(cluster.stateFolder, 'install/values.json');
}

/** With the images and values of the first time. */
export async function installAgain(cluster: Cluster, settings: Settings = {}): Promise<Sluice> {
  try {
    await helmUpgrade(cluster, valuesFile(cluster), settings);
    // An operator that comes back waits until the Lease of the one before has run out.
    const made = ['wait', AGENTS, '-n', NAMESPACE, '--for=create'];
    await cluster.kubectl([...made, '--timeout=60s']);
    await rolledOut(cluster, AGENTS);
  } catch (cause) {
    const pods = await cluster.kubectl(['get', 'pods', '-A', '-o', 'wide']).catch(String);
    throw new Error(`Sluice does not come up in ${cluster.name}:\n${pods}`, { cause });
  }
  return new Sluice(cluster, await ReadClient.open(cluster, NAMESPACE));
}

/** With the images of the installation; resolves when the operator has been replaced. */
export function changeSettings(cluster: Cluster, settings: Settings): Promise<void> {
  return helmUpgrade(cluster, valuesFile(cluster), settings);
}

/**
 * To other images, as a user upgrades; `undefined` are those of the installation. Resolves when
 * operator, relays and agents have been replaced.
 */
export async function changeImages(
  sluice: Sluice,
  images: SluiceImages | undefined,
  settings: Settings,
): Promise<void> {
  const { cluster } = sluice;
  const values = path.join(cluster.stateFolder, 'install/other-values.json');
  if (images !== undefined) await writeFile(values, JSON.stringify(chartValues(images)));
  const file = images === undefined ? valuesFile(cluster) : values;
  await helmUpgrade(cluster, file, settings);
  const { relay, agent } = JSON.parse(await readFile(file, 'utf8')) as Record<
    'relay' | 'agent',
    { image: { repository: string; tag: string } }
  >;
  const workloads = [
    { of: ['daemonset', '-l', 'app.kubernetes.io/component=agent'], ...agent },
    { of: ['deployment', '-l', 'app.kubernetes.io/component=relay'], ...relay },
  ];
  for (const { of, image } of workloads) {
    const wanted = `${image.repository}:${image.tag}`;
    const changed = await sluice.until(`${of[0]}s with ${wanted}`, async () => {
      const found = await workloadImages(cluster, of);
      const isDone = found.every((each) => each.image === wanted);
      return isDone && found.length > 0 ? found : undefined;
    });
    for (const { name } of changed) await rolledOut(cluster, name);
  }
}

/** `<kind>/<name>` and the image of its template. */
async function workloadImages(
  cluster: Cluster,
  of: readonly string[],
): Promise<{ name: string; image: string }[]> {
  const columns =
    '{range .items[*]}{.kind}/{.metadata.name} {.spec.template.spec.containers[0].image}{"\\n"}{end}';
  const args = ['get', ...of, '-n', NAMESPACE, '-o', `jsonpath=${columns}`];
  const lines = (await cluster.kubectl(args)).split('\n').filter(Boolean);
  return lines.map((line) => {
    const [name = '', image = ''] = line.split(' ');
    return { name, image };
  });
}

async function rolledOut(cluster: Cluster, workload: string): Promise<void> {
  const args = ['rollout', 'status', workload, '-n', NAMESPACE, '--timeout=90s'];
  await cluster.kubectl(args, { timeoutMs: 100_000 });
}

async function helmUpgrade(cluster: Cluster, values: string, settings: Settings): Promise<void> {
  const set = Object.entries(settings).flatMap(([name, value]) =>
    VALUES[name as keyof Settings].flatMap((at) => [
      '--set-json',
      `${at}=${JSON.stringify(value)}`,
    ]),
  );
  await cluster.helm([
    ...['upgrade', '--install', 'sluice', path.join(repositoryRoot, 'helm/sluice')],
    ...['--namespace', NAMESPACE, '--create-namespace', '--values', values],
    ...['--wait', '--timeout', INSTALL_TIMEOUT, ...set],
  ]);
}

export function archivesOf(images: SluiceImages): string[] {
  return Object.values(images).map(({ archive }) => archive);
}

/** Hexadecimal. */
export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}
