/** Where the API server has the kinds that Sluice uses. */

export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
}

export const resources = {
  distributions: {
    apiVersion: 'sluice.dev/v1alpha1',
    kind: 'Distribution',
    plural: 'distributions',
  },
  origins: { apiVersion: 'sluice.dev/v1alpha1', kind: 'Origin', plural: 'origins' },
  namespaces: { apiVersion: 'v1', kind: 'Namespace', plural: 'namespaces' },
  nodes: { apiVersion: 'v1', kind: 'Node', plural: 'nodes' },
  pods: { apiVersion: 'v1', kind: 'Pod', plural: 'pods' },
  secrets: { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' },
  persistentVolumes: { apiVersion: 'v1', kind: 'PersistentVolume', plural: 'persistentvolumes' },
  persistentVolumeClaims: {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    plural: 'persistentvolumeclaims',
  },
  deployments: { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments' },
  podDisruptionBudgets: {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    plural: 'poddisruptionbudgets',
  },
  daemonSets: { apiVersion: 'apps/v1', kind: 'DaemonSet', plural: 'daemonsets' },
  leases: { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', plural: 'leases' },
  events: { apiVersion: 'events.k8s.io/v1', kind: 'Event', plural: 'events' },
} as const satisfies Record<string, Resource>;

/** All of a kind; without namespace: in all namespaces, or of a kind that has none. */
export function listPath(resource: Resource, namespace?: string): string {
  const group = resource.apiVersion.includes('/') ? '/apis' : '/api';
  const scope = namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${group}/${resource.apiVersion}${scope}/${resource.plural}`;
}

export interface ObjectName {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export function objectPath(resource: Resource, { namespace, name }: ObjectName): string {
  return `${listPath(resource, namespace)}/${encodeURIComponent(name)}`;
}
