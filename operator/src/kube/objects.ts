/** The parts of Kubernetes' own objects that Sluice reads. */
import type { KubeObject } from './reflector.ts';

export interface NamespaceObject extends KubeObject {
  readonly metadata: KubeObject['metadata'] & {
    readonly labels?: Readonly<Record<string, string>>;
  };
}

export interface NodeObject extends KubeObject {
  readonly spec?: { readonly unschedulable?: boolean };
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** Its kubelet, or the node controller for a silent one, says so; a new node has said nothing yet. */
export function isNotReady({ status }: NodeObject): boolean {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  return ready !== undefined && ready.status !== 'True';
}

/** A Deployment or a DaemonSet. */
export interface WorkloadObject extends KubeObject {
  readonly metadata: KubeObject['metadata'] & {
    readonly generation?: number;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly object[];
  };
  readonly spec?: { readonly replicas?: number };
  readonly status?: { readonly availableReplicas?: number };
}

export interface SecretObject {
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
}

/** A PersistentVolume. */
export interface VolumeObject extends KubeObject {
  readonly spec: { readonly claimRef?: { readonly uid?: string } };
}

/** A PersistentVolumeClaim. */
export interface ClaimObject extends KubeObject {
  readonly metadata: KubeObject['metadata'] & {
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
  readonly spec: { readonly volumeName?: string };
  readonly status?: { readonly phase?: string };
}
