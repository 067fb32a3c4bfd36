/**
 * What is kept of objects that there are ten thousand of: a node's images and a pod's managed
 * fields are most of them, and nobody here reads them.
 */
import type { KubeObject } from './reflector.ts';

interface Loose extends KubeObject {
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>> & {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** Of metadata all but who wrote which field, and what annotations hold. */
function trimMetadata({ metadata }: KubeObject): object {
  const { managedFields, annotations, ...kept } = metadata as KubeObject['metadata'] & {
    readonly managedFields?: unknown;
    readonly annotations?: unknown;
  };
  return kept;
}

export function trimNode<T extends KubeObject>(node: T): T {
  const { spec, status } = node as Loose;
  const ready = status?.conditions?.filter(({ type }) => type === 'Ready') ?? [];
  return {
    metadata: trimMetadata(node),
    ...(spec?.unschedulable !== undefined && { spec: { unschedulable: spec.unschedulable } }),
    status: { conditions: ready.map(({ type, status }) => ({ type, status })) },
  } as unknown as T;
}

export function trimPod<T extends KubeObject>(pod: T): T {
  const { spec, status } = pod as Loose;
  const { phase, podIP, containerStatuses } = status ?? {};
  return {
    metadata: trimMetadata(pod),
    spec: { nodeName: spec?.nodeName },
    status: { phase, podIP, containerStatuses },
  } as unknown as T;
}
