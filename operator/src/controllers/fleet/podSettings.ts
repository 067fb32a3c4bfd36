/** What the cluster's owner says of the pods that the operator makes, and what that is in a pod. PURE. */
import { type Static, type TObject, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';

const Fields = Type.Object({}, { additionalProperties: true });
const Texts = Type.Record(Type.String(), Type.String());
const Placing = {
  resources: Type.Optional(Fields),
  nodeSelector: Type.Optional(Texts),
  tolerations: Type.Optional(Type.Array(Fields)),
  priorityClassName: Type.Optional(Type.String()),
  podAnnotations: Type.Optional(Texts),
};

export const RelayPod = Type.Object(
  {
    ...Placing,
    cache: Type.Optional(
      Type.Object(
        { size: Type.Optional(Type.String()), storageClassName: Type.Optional(Type.String()) },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
);
export const AgentPod = Type.Object(
  { ...Placing, seLinuxOptions: Type.Optional(Fields) },
  { additionalProperties: false },
);
export type RelayPod = Static<typeof RelayPod>;
export type AgentPod = Static<typeof AgentPod>;

/** As in the chart's values. */
const RESOURCES = { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '1Gi' } };
export const DEFAULT_RELAY_POD: RelayPod = { resources: RESOURCES };
export const DEFAULT_AGENT_POD: AgentPod = {
  resources: RESOURCES,
  tolerations: [{ operator: 'Exists' }],
  priorityClassName: 'system-node-critical',
};

/**
 * Undefined: it is no JSON of these fields. What is not said is as in `otherwise`; what Kubernetes
 * makes of the rest it says itself.
 */
export function parsePod<T extends TObject>(
  schema: T,
  text: string,
  otherwise: Static<T>,
): Static<T> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Value.Check(schema, value) ? { ...otherwise, ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** A volume of a class is made with the pod and goes with it. */
export function isCacheComplete({ cache }: RelayPod): boolean {
  return !cache?.storageClassName || Boolean(cache.size);
}

/** Of the pod's spec. */
export function placing(pod: RelayPod | AgentPod): object {
  const { nodeSelector, tolerations = [], priorityClassName } = pod;
  return {
    nodeSelector: { 'kubernetes.io/os': 'linux', ...nodeSelector },
    ...(tolerations.length > 0 && { tolerations }),
    ...(priorityClassName && { priorityClassName }),
  };
}

/** Of the pod's metadata: where its metrics are, and what else is wanted there. */
export function podAnnotations(pod: RelayPod | AgentPod, metricsPort: number): object {
  return {
    'prometheus.io/scrape': 'true',
    'prometheus.io/port': String(metricsPort),
    'prometheus.io/path': '/metrics',
    ...pod.podAnnotations,
  };
}

/** Of the relay's container; room in an emptyDir is the node's, and the scheduler is told of it. */
export function relayResources({ resources = {}, cache }: RelayPod): object {
  if (!cache?.size || cache.storageClassName) return resources;
  const { requests, ...rest } = resources as { requests?: object };
  return { ...rest, requests: { 'ephemeral-storage': cache.size, ...requests } };
}

export function cacheVolume({ cache }: RelayPod): object {
  const { size, storageClassName } = cache ?? {};
  if (!storageClassName) return { emptyDir: size ? { sizeLimit: size } : {} };
  const spec = {
    accessModes: ['ReadWriteOnce'],
    storageClassName,
    resources: { requests: { storage: size } },
  };
  return { ephemeral: { volumeClaimTemplate: { spec } } };
}
