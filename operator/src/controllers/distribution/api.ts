/** What the controller asks of the API server about one Distribution. */
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { applyObject, applyStatus } from '../../kube/apply.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import type { SecretObject } from '../../kube/objects.ts';
import { objectPath, resources } from '../../kube/paths.ts';
import { CredentialsError, headersOf } from './credentials.ts';

/** Keeps a deleted Distribution until its processes have let go. */
export const FINALIZER = 'sluice.dev/distribution';

export interface DistributionApi {
  ensureFinalizer(distribution: Distribution, signal: AbortSignal): Promise<void>;
  dropFinalizer(distribution: Distribution, signal: AbortSignal): Promise<void>;
  writeStatus(
    distribution: Distribution,
    status: DistributionStatus,
    signal: AbortSignal,
  ): Promise<void>;
  /** Headers for the origin. Throws a CredentialsError. */
  readCredentials(
    namespace: string,
    secretName: string,
    signal: AbortSignal,
  ): Promise<Record<string, string>>;
}

export function distributionApi(client: KubeClient): DistributionApi {
  const applyFinalizers = async (
    { metadata }: Distribution,
    finalizers: readonly string[],
    signal: AbortSignal,
  ) => {
    const { name, namespace, uid } = metadata;
    const object = { metadata: { name, namespace, uid, finalizers } };
    await applyObject(client, resources.distributions, object, signal);
  };
  return {
    async ensureFinalizer(distribution, signal) {
      if (distribution.metadata.finalizers?.includes(FINALIZER)) return;
      await applyFinalizers(distribution, [FINALIZER], signal);
    },

    async dropFinalizer(distribution, signal) {
      try {
        await applyFinalizers(distribution, [], signal);
      } catch (error) {
        // Gone already, or made anew with another uid.
        if (!isKubeError(error, 'NotFound', 'Conflict')) throw error;
      }
    },

    async writeStatus({ metadata }, status, signal) {
      const { name, namespace, uid } = metadata;
      const object = { metadata: { name, namespace, uid }, status };
      await applyStatus(client, resources.distributions, object, signal);
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
