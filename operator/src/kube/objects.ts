/** The parts of Kubernetes' own objects that Sluice reads. */
import type { KubeObject } from './reflector.ts';

export interface NamespaceObject extends KubeObject {
  readonly metadata: KubeObject['metadata'] & {
    readonly labels?: Readonly<Record<string, string>>;
  };
}

export interface NodeObject extends KubeObject {
  readonly spec?: { readonly unschedulable?: boolean };
}

/** A Deployment or a DaemonSet. */
export interface WorkloadObject extends KubeObject {
  readonly metadata: KubeObject['metadata'] & {
    readonly generation?: number;
    readonly annotations?: Readonly<Record<string, string>>;
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
  readonly spec: { readonly volumeName?: string };
  readonly status?: { readonly phase?: string };
}
