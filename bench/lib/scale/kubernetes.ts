/** Nodes and the agents' pods of a cluster that is only written down: objects, and nothing that runs. */
import type { KubeClient } from '@sluice/operator/kube/client.ts';
import { listPath, resources } from '@sluice/operator/kube/paths.ts';
import { OPERATOR_NAMESPACE } from '@sluice/operator/testing/adapters/apiServer.ts';
import { createAccounts, createPod } from '@sluice/operator/testing/adapters/fleetPods.ts';

export interface NodePod {
  readonly node: string;
  /** Of its agent, as it is projected into the pod. */
  readonly token: string;
}

/** Label of the nodes that distributions of a part of the cluster select. */
const SLICE_LABEL = 'bench.sluice.dev/slice';
export const SLICE_NODES = 100;
const ZONES = 10;
const PARALLEL = 24;
/** What a kubelet tells of its images is most of a Node object. */
const IMAGES = 30;

export async function createNodes(admin: KubeClient, count: number): Promise<NodePod[]> {
  await createAccounts(admin);
  const pods: NodePod[] = [];
  let next = 0;
  const worker = async () => {
    for (let at = next++; at < count; at = next++) pods[at] = await createNode(admin, at);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  return pods;
}

async function createNode(admin: KubeClient, at: number): Promise<NodePod> {
  const node = `node-${String(at).padStart(5, '0')}`;
  const path = listPath(resources.nodes);
  await admin.request({ method: 'POST', path, body: nodeOf(node, at) });
  await admin.request({
    method: 'PATCH',
    path: `${path}/${node}/status`,
    contentType: 'application/merge-patch+json',
    body: { status: statusOf() },
  });
  const { token } = await createPod(admin, { kind: 'agent', node });
  return { node, token };
}

function nodeOf(name: string, at: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/hostname': name,
        'topology.kubernetes.io/zone': `zone-${at % ZONES}`,
        [SLICE_LABEL]: String(Math.floor(at / SLICE_NODES)),
      },
    },
  };
}

/** Of a node that is well. */
export function conditionsAt(time: Date): readonly object[] {
  const lastHeartbeatTime = time.toISOString().replace(/\.\d+/, '');
  return [
    { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime },
    { type: 'MemoryPressure', status: 'False', reason: 'Enough', lastHeartbeatTime },
  ];
}

function statusOf(): object {
  return {
    conditions: conditionsAt(new Date()),
    images: Array.from({ length: IMAGES }, (_, at) => ({
      names: [`registry.example.com/team/image-${at}@sha256:${'0'.repeat(64)}`],
      sizeBytes: 100_000_000,
    })),
  };
}

export interface ScaleDistribution {
  readonly name: string;
  readonly url: string;
  /** Undefined: all nodes. */
  readonly slice: number | undefined;
  /** Nodes that have it say so. */
  readonly nodeLabel?: boolean;
}

export function distributionBody(distribution: ScaleDistribution): object {
  const { name, url, slice, nodeLabel = false } = distribution;
  return {
    apiVersion: 'sluice.dev/v1alpha1',
    kind: 'Distribution',
    metadata: { name, namespace: 'default' },
    spec: {
      source: { url },
      target: {
        path: name,
        nodeLabel,
        ...(slice !== undefined && { nodeSelector: { [SLICE_LABEL]: String(slice) } }),
      },
    },
  };
}

/** Pods, relays and the operator live here. */
export const NAMESPACE = OPERATOR_NAMESPACE;
