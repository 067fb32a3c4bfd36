/** The volume and the claim through which pods without the right to mount host folders get at the files. */
import { createHash } from 'node:crypto';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { MANAGED_LABELS } from '../fleet/manifests.ts';

/** On everything that is made for one distribution: its uid. */
export const DISTRIBUTION_UID_LABEL = 'sluice.dev/distribution-uid';

/** A number that Kubernetes asks for and nobody enforces: the bytes are the node's already. */
const CAPACITY = '1Mi';

export interface VolumeManifests {
  readonly claimName: string;
  readonly volumeName: string;
  readonly claim: object;
  /** With a claimUid only that claim can be bound to it. */
  volume(claimUid: string | undefined): object;
}

function volumePrefix(uid: string): string {
  return `sluice-${uid}-`;
}

/** Whether it is one that was made for the distribution of this uid. */
export function isVolumeNameOf(name: string, uid: string): boolean {
  return name.startsWith(volumePrefix(uid));
}

/** Undefined when the distribution is to have none. */
export function volumeManifests(
  { metadata, spec }: Distribution,
  agentRoot: string,
): VolumeManifests | undefined {
  const { namespace, name, uid } = metadata;
  const claimName = spec.target.persistentVolumeClaim;
  if (claimName === undefined) return undefined;
  const labels = { ...MANAGED_LABELS, [DISTRIBUTION_UID_LABEL]: uid };
  const annotations = { 'sluice.dev/distribution': `${namespace}/${name}` };
  const fixed = {
    hostPath: { path: `${agentRoot}/${namespace}/${spec.target.path}`, type: 'Directory' },
    ...nodeAffinity(spec.target),
  };
  const common = {
    accessModes: ['ReadOnlyMany'],
    storageClassName: '',
    volumeMode: 'Filesystem',
  };
  // Nothing of it can be changed later: what asks for another volume asks for another name.
  const text = JSON.stringify([claimName, fixed]);
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8);
  const volumeName = `${volumePrefix(uid)}${hash}`;
  return {
    claimName,
    volumeName,
    claim: {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        namespace,
        name: claimName,
        labels,
        annotations,
        // Kubernetes deletes it with its Distribution, also when no operator is there to do so.
        ownerReferences: [{ apiVersion: 'sluice.dev/v1alpha1', kind: 'Distribution', name, uid }],
      },
      spec: { ...common, volumeName, resources: { requests: { storage: CAPACITY } } },
    },
    volume: (claimUid) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: volumeName, labels, annotations },
      spec: {
        ...common,
        capacity: { storage: CAPACITY },
        // Files go by the Distribution's deletionPolicy alone.
        persistentVolumeReclaimPolicy: 'Retain',
        claimRef: {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          namespace,
          name: claimName,
          ...(claimUid !== undefined && { uid: claimUid }),
        },
        ...fixed,
      },
    }),
  };
}

/**
 * Pods that mount the claim are scheduled to nodes that get the files. Terms are alternatives, so
 * what nodeSelector asks for is in each of them.
 */
function nodeAffinity({
  nodeSelector,
  affinity,
}: Pick<Distribution['spec']['target'], 'nodeSelector' | 'affinity'>): object {
  const selected = Object.keys(nodeSelector)
    .sort()
    .map((key) => ({ key, operator: 'In', values: [nodeSelector[key]] }));
  const terms = affinity?.nodeSelectorTerms ?? [{ matchExpressions: [] }];
  const nodeSelectorTerms = terms.map(({ matchExpressions }) => ({
    matchExpressions: [...selected, ...matchExpressions],
  }));
  if (nodeSelectorTerms.some(({ matchExpressions }) => matchExpressions.length === 0)) return {};
  return { nodeAffinity: { required: { nodeSelectorTerms } } };
}
