/**
 * Server-side apply: the operator states what it wants of an object and owns exactly those fields.
 * One field manager, forced: nobody else decides about them.
 */
import { isKubeError, type KubeClient } from './client.ts';
import { objectPath, type Resource } from './paths.ts';

export const FIELD_MANAGER = 'sluice-operator';

/** JSON is YAML; the API server knows an apply by this type. */
const CONTENT_TYPE = 'application/apply-patch+yaml';

export interface AppliedObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    /** With it, an object that is gone or was made anew is not touched: Conflict. */
    readonly uid?: string;
    /** With it, an object that was changed since is not touched: Conflict. */
    readonly resourceVersion?: string | undefined;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly finalizers?: readonly string[];
    readonly ownerReferences?: readonly object[];
  };
  readonly [field: string]: unknown;
}

/** Answers the object as it is now. Throws a KubeError. */
export function applyObject<T>(
  client: KubeClient,
  resource: Resource,
  object: AppliedObject,
  signal: AbortSignal,
): Promise<T> {
  return patch(client, resource, object, '', signal);
}

/**
 * The same for an object of ours alone. What a stranger has put there may be invalid beside what is
 * applied, such as another kind of volume under the same name: then the spec is ours, and no more.
 */
export async function enforceObject<T>(
  client: KubeClient,
  resource: Resource,
  object: AppliedObject,
  signal: AbortSignal,
): Promise<T> {
  try {
    return await applyObject<T>(client, resource, object, signal);
  } catch (error) {
    if (!isKubeError(error, 'Invalid')) throw error;
    await client
      .request({
        method: 'PATCH',
        path: objectPath(resource, object.metadata),
        query: { fieldManager: FIELD_MANAGER },
        contentType: 'application/json-patch+json',
        body: [{ op: 'replace', path: '/spec', value: object.spec }],
        signal,
      })
      // What is applied is invalid by itself.
      .catch(() => Promise.reject(error));
    return applyObject<T>(client, resource, object, signal);
  }
}

/** Removes these of an object as it was answered; Invalid: it is another one by now. */
export function removeFields<T>(
  client: KubeClient,
  resource: Resource,
  metadata: AppliedObject['metadata'],
  pointers: readonly string[],
  signal: AbortSignal,
): Promise<T> {
  const { resourceVersion } = metadata;
  return client.request<T>({
    method: 'PATCH',
    path: objectPath(resource, metadata),
    query: { fieldManager: FIELD_MANAGER },
    contentType: 'application/json-patch+json',
    body: [
      { op: 'test', path: '/metadata/resourceVersion', value: resourceVersion },
      ...pointers.map((path) => ({ op: 'remove', path })),
    ],
    signal,
  });
}

/** Only `status` is looked at; what is no longer named in it is removed. */
export function applyStatus<T>(
  client: KubeClient,
  resource: Resource,
  object: AppliedObject & { readonly status: object },
  signal: AbortSignal,
): Promise<T> {
  return patch(client, resource, object, '/status', signal);
}

function patch<T>(
  client: KubeClient,
  resource: Resource,
  object: AppliedObject,
  subresource: string,
  signal: AbortSignal,
): Promise<T> {
  return client.request<T>({
    method: 'PATCH',
    path: objectPath(resource, object.metadata) + subresource,
    query: { fieldManager: FIELD_MANAGER, force: true },
    contentType: CONTENT_TYPE,
    body: { apiVersion: resource.apiVersion, kind: resource.kind, ...object },
    signal,
  });
}
