/** What the controller asks of the API server about one Distribution. */
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { applyObject, applyStatus, FIELD_MANAGER } from '../../kube/apply.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import type { SecretObject } from '../../kube/objects.ts';
import { listPath, objectPath, resources } from '../../kube/paths.ts';
import { CredentialsError, headersOf } from './credentials.ts';

/** Keeps a deleted Distribution until its processes have let go. */
export const FINALIZER = 'sluice.dev/distribution';

export interface DistributionApi {
  /** Answers the object as it is then; undefined: the copy has it already. */
  ensureFinalizer(
    distribution: Distribution,
    signal: AbortSignal,
  ): Promise<Distribution | undefined>;
  dropFinalizer(distribution: Distribution, signal: AbortSignal): Promise<void>;
  /** Not over another version of the object: Conflict. Answers it as it is then. */
  writeStatus(
    distribution: Distribution,
    written: {
      readonly status: DistributionStatus;
      readonly resourceVersion: string;
    },
    signal: AbortSignal,
  ): Promise<Distribution>;
  /** As it is now: a copy that is watched may be behind. Undefined: it is gone. */
  readAnew(distribution: Distribution, signal: AbortSignal): Promise<Distribution | undefined>;
  /** Headers for the origin. Throws a CredentialsError. */
  readCredentials(
    namespace: string,
    secretName: string,
    signal: AbortSignal,
  ): Promise<Record<string, string>>;
}

export function distributionApi(client: KubeClient): DistributionApi {
  const readAnew: DistributionApi['readAnew'] = async (
    { metadata: { name, namespace } },
    signal,
  ) => {
    const { items } = await client.request<{ items: readonly Distribution[] }>({
      method: 'GET',
      path: listPath(resources.distributions, namespace),
      query: { fieldSelector: `metadata.name=${name}` },
      signal,
    });
    return items[0];
  };
  return {
    readAnew,

    async ensureFinalizer(distribution, signal) {
      if (distribution.metadata.finalizers?.includes(FINALIZER)) return undefined;
      const { name, namespace, uid } = distribution.metadata;
      const object = { metadata: { name, namespace, uid, finalizers: [FINALIZER] } };
      return applyObject(client, resources.distributions, object, signal);
    },

    async dropFinalizer(distribution, signal) {
      const { uid } = distribution.metadata;
      let found: Distribution | undefined = distribution;
      while (found?.metadata.uid === uid && found.metadata.finalizers?.includes(FINALIZER)) {
        try {
          return await patchFinalizers(client, found, signal);
        } catch (error) {
          if (isKubeError(error, 'NotFound')) return;
          if (!isKubeError(error, 'Conflict')) throw error;
        }
        found = await readAnew(distribution, signal);
      }
    },

    async writeStatus({ metadata }, { status, resourceVersion }, signal) {
      const { name, namespace, uid } = metadata;
      const object = { metadata: { name, namespace, uid, resourceVersion }, status };
      return applyStatus(client, resources.distributions, object, signal);
    },

    async readCredentials(namespace, secretName, signal) {
      const path = objectPath(resources.secrets, { namespace, name: secretName });
      try {
        const secret = await client.request<SecretObject>({ method: 'GET', path, signal });
        return headersOf(secretName, secret.data ?? {});
      } catch (cause) {
        if (!isKubeError(cause, 'NotFound')) throw cause;
        const message = `spec.source.secretRef: there is no Secret '${secretName}' in namespace '${namespace}'; create it`;
        throw new CredentialsError('SecretNotFound', message, { cause });
      }
    },
  };
}

/**
 * Without ours. An apply would take away only what nobody else has applied: with an object that was
 * copied from another cluster, or restored, the finalizer came in the name of who made it.
 */
async function patchFinalizers(
  client: KubeClient,
  { metadata }: Distribution,
  signal: AbortSignal,
): Promise<void> {
  const { uid, resourceVersion } = metadata;
  const finalizers = metadata.finalizers?.filter((each) => each !== FINALIZER);
  await client.request({
    method: 'PATCH',
    path: objectPath(resources.distributions, metadata),
    query: { fieldManager: FIELD_MANAGER },
    contentType: 'application/merge-patch+json',
    // The list is replaced as a whole: not where somebody has changed it since.
    body: { metadata: { uid, resourceVersion, finalizers } },
    signal,
  });
}
