/** What the API server says of a run: plain data, so that what judges it needs no cluster. */
import { NAMESPACE, type Sluice } from '../install/sluice.ts';

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

export interface DistributionFacts {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly generation: number;
    readonly deletionTimestamp?: string;
  };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly Condition[];
    readonly epoch?: { readonly number: number; readonly sizeBytes: number };
    readonly nodes?: {
      readonly desired: number;
      readonly pending: number;
      readonly transferring: number;
      readonly ready: number;
      readonly failed: number;
      readonly unreachable: number;
    };
    readonly bytes?: { readonly total: number; readonly delivered: number };
    readonly failedNodes?: readonly { readonly name: string; readonly reason: string }[];
  };
}

export interface NodeFacts {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly labels: Readonly<Record<string, string>>;
  };
}

/** A claim, or a volume. */
export interface StorageFacts {
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: {
    readonly volumeName?: string;
    readonly hostPath?: { readonly path: string };
    readonly nodeAffinity?: {
      readonly required: {
        readonly nodeSelectorTerms: readonly {
          readonly matchExpressions: readonly { readonly key: string; readonly values: string[] }[];
        }[];
      };
    };
  };
  readonly status: { readonly phase: string };
}

export interface EventFacts {
  readonly metadata: { readonly name: string };
  readonly regarding: { readonly kind: string; readonly name: string; readonly uid: string };
  readonly reason: string;
  readonly note: string;
  readonly reportingInstance: string;
  readonly eventTime: string;
}

/** A Deployment, or a DaemonSet. */
export interface WorkloadFacts {
  readonly metadata: { readonly generation: number; readonly deletionTimestamp?: string };
  readonly spec: { readonly replicas?: number };
  readonly status: {
    readonly observedGeneration?: number;
    readonly availableReplicas?: number;
    readonly updatedReplicas?: number;
    readonly replicas?: number;
    readonly desiredNumberScheduled?: number;
    readonly numberAvailable?: number;
    readonly updatedNumberScheduled?: number;
  };
}

export interface ClusterFacts {
  readonly distributions: readonly DistributionFacts[];
  readonly nodes: readonly NodeFacts[];
  readonly claims: readonly StorageFacts[];
  readonly volumes: readonly StorageFacts[];
  readonly events: readonly EventFacts[];
  readonly operator: WorkloadFacts;
  readonly agents: WorkloadFacts;
  /** `<kind>/<name>` of what is there for relays. */
  readonly ofRelays: readonly string[];
  /** Connections that the Origins' statuses count. */
  readonly countedConnections: number;
}

const OURS = ['-l', 'app.kubernetes.io/managed-by=sluice-operator'];
const OF_RELAYS = ['-l', 'app.kubernetes.io/component=relay'];

export function readNodes(sluice: Sluice): Promise<NodeFacts[]> {
  return listOf(sluice, 'nodes');
}

export async function readCluster(sluice: Sluice): Promise<ClusterFacts> {
  const list = <T>(...args: string[]) => listOf<T>(sluice, ...args);
  const get = <T>(...args: string[]) => objectOf<T>(sluice, ...args);
  const own = ['-n', NAMESPACE];
  // A little at a time: it is the cluster that is looked at, not how much it can answer at once.
  const [distributions, nodes] = await Promise.all([
    list<DistributionFacts>('distributions', '-n', 'default'),
    readNodes(sluice),
  ]);
  const [claims, volumes] = await Promise.all([
    list<StorageFacts>('persistentvolumeclaims', '-n', 'default', ...OURS),
    list<StorageFacts>('persistentvolumes', ...OURS),
  ]);
  const [events, origins] = await Promise.all([
    list<EventFacts>('events.events.k8s.io', '-n', 'default'),
    list<{ status?: { usage?: { connections: number } } }>('origins'),
  ]);
  const [operator, agents] = await Promise.all([
    get<WorkloadFacts>('deployment', 'sluice-operator', ...own),
    get<WorkloadFacts>('daemonset', 'sluice-agent', ...own),
  ]);
  const kinds = 'deployments,pods,poddisruptionbudgets';
  const ofRelays = await list<{ kind: string; metadata: { name: string } }>(
    kinds,
    ...own,
    ...OF_RELAYS,
  );
  return {
    distributions,
    nodes,
    claims,
    volumes,
    events: events.filter(({ regarding }) => regarding.kind === 'Distribution'),
    operator,
    agents,
    ofRelays: ofRelays.map(({ kind, metadata }) => `${kind}/${metadata.name}`),
    countedConnections: origins.reduce((sum, { status }) => {
      return sum + (status?.usage?.connections ?? 0);
    }, 0),
  };
}

async function listOf<T>(sluice: Sluice, ...args: string[]): Promise<T[]> {
  return (await objectOf<{ items: T[] }>(sluice, ...args)).items;
}

async function objectOf<T>(sluice: Sluice, ...args: string[]): Promise<T> {
  return JSON.parse(await sluice.cluster.kubectl(['get', ...args, '-o', 'json'])) as T;
}
