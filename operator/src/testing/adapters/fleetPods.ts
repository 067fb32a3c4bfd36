/** Pods of relays and agents at a test API server: what their kubelets would say, and their tokens. */
import { randomBytes } from 'node:crypto';
import { type ProcessKind, TOKEN_AUDIENCE } from '@sluice/protocol/messages.ts';
import { DOMAIN_LABEL, MANAGED_LABELS } from '../../controllers/fleet/manifests.ts';
import type { KubeClient } from '../../kube/client.ts';
import { listPath, objectPath, resources } from '../../kube/paths.ts';
import { OPERATOR_NAMESPACE } from './apiServer.ts';

export interface FleetPod {
  readonly name: string;
  readonly uid: string;
  /** As it is projected into the pod. */
  readonly token: string;
  /** Its kubelet says that its container has ended. */
  end(): Promise<void>;
}

export interface FleetPodOptions {
  readonly kind: ProcessKind;
  readonly node: string;
  /** Relays: their domain. */
  readonly domain?: string;
  /** Undefined: the kubelet has not told it yet. */
  readonly address?: string | undefined;
  /** Kind of the controller that owns it; undefined: made by hand. */
  readonly owner?: string | undefined;
  readonly audience?: string;
}

const CORE = `/api/v1/namespaces/${OPERATOR_NAMESPACE}`;
const OWNERS = { relay: 'ReplicaSet', agent: 'DaemonSet' } as const;

export async function createAccounts(admin: KubeClient): Promise<void> {
  for (const name of ['sluice-relay', 'sluice-agent', 'somebody']) {
    const body = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } };
    await admin.request({ method: 'POST', path: `${CORE}/serviceaccounts`, body });
  }
}

export async function createPod(admin: KubeClient, options: FleetPodOptions): Promise<FleetPod> {
  const { kind, node, domain } = options;
  const owner = 'owner' in options ? options.owner : OWNERS[kind];
  const address = 'address' in options ? options.address : '127.0.0.1';
  const name = `sluice-${kind}-${randomBytes(4).toString('hex')}`;
  const account = `sluice-${kind}`;
  const ownerReference = {
    apiVersion: 'apps/v1',
    kind: owner,
    name: account,
    uid: '4f0b0e1c-0000-4000-8000-000000000000',
    controller: true,
  };
  const pod = await admin.request<{ metadata: { uid: string } }>({
    method: 'POST',
    path: listPath(resources.pods, OPERATOR_NAMESPACE),
    body: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name,
        labels: {
          ...MANAGED_LABELS,
          'app.kubernetes.io/component': kind,
          ...(domain !== undefined && { [DOMAIN_LABEL]: domain }),
        },
        ...(owner !== undefined && { ownerReferences: [ownerReference] }),
      },
      spec: {
        nodeName: node,
        serviceAccountName: account,
        containers: [{ name: kind, image: 'none' }],
      },
    },
  });
  const { uid } = pod.metadata;
  const setStatus = async (status: object) => {
    const path = `${objectPath(resources.pods, { namespace: OPERATOR_NAMESPACE, name })}/status`;
    const contentType = 'application/merge-patch+json';
    await admin.request({ method: 'PATCH', path, contentType, body: { status } });
  };
  const container = { name: kind, image: 'none', imageID: 'none', restartCount: 0, ready: true };
  if (address !== undefined) {
    const state = { running: { startedAt: '2026-01-01T00:00:00Z' } };
    await setStatus({
      podIP: address,
      podIPs: [{ ip: address }],
      containerStatuses: [{ ...container, state }],
    });
  }
  const review = await admin.request<{ status: { token: string } }>({
    method: 'POST',
    path: `${CORE}/serviceaccounts/${account}/token`,
    body: {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        audiences: [options.audience ?? TOKEN_AUDIENCE],
        expirationSeconds: 3600,
        boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid },
      },
    },
  });
  return {
    name,
    uid,
    token: review.status.token,
    end: async () => {
      const state = { terminated: { exitCode: 137 } };
      await setStatus({ containerStatuses: [{ ...container, ready: false, state }] });
    },
  };
}
