/**
 * Takes the operator's finalizer from every Distribution when Sluice is uninstalled: nobody is left
 * who would. The Distributions and their files stay; a Sluice that is installed again goes on.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import { listPath, resources } from '../../kube/paths.ts';
import { keyOf } from '../../kube/reflector.ts';
import { distributionApi, FINALIZER } from './api.ts';

export interface LetGoDependencies {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface List<T> {
  readonly metadata: { readonly continue?: string };
  readonly items?: readonly T[];
}

const PAGE_SIZE = 500;
const OPERATOR_PODS = 'app.kubernetes.io/name=sluice,app.kubernetes.io/component=operator';
/** The operator's pods end within their 30 s. */
const GONE_WITHIN_MS = 90_000;
/**
 * One that is Terminating for longer is on a node that does not answer, and stays for as long. If it
 * runs at all, it has no rights any more: they went with the release.
 */
const TERMINATED_MS = 60_000;
const POLL_MS = 500;
/** In the message. */
const NAMED = 20;

interface Pod {
  readonly metadata: { readonly uid: string; readonly deletionTimestamp?: string };
  readonly status?: { readonly phase?: string };
}

/**
 * Throws when the operator still runs: it would put its finalizer back; and, when all have been
 * tried, names the Distributions that could not be let go.
 */
export async function letGo(
  { namespace }: { readonly namespace: string },
  { client, clock, logger }: LetGoDependencies,
  signal: AbortSignal,
): Promise<void> {
  const giveUpAtMs = clock.now() + GONE_WITHIN_MS;
  const terminatingSince = new Map<string, number>();
  const runs = ({ metadata: { uid, deletionTimestamp }, status }: Pod): boolean => {
    if (status?.phase === 'Succeeded' || status?.phase === 'Failed') return false;
    if (deletionTimestamp === undefined) return true;
    const sinceMs = terminatingSince.get(uid) ?? clock.now();
    terminatingSince.set(uid, sinceMs);
    return clock.now() - sinceMs < TERMINATED_MS;
  };
  while ((await operatorPods(client, namespace, signal)).some(runs)) {
    if (clock.now() > giveUpAtMs) {
      throw new Error(
        `pods of the operator still run in ${namespace}; delete the Deployment sluice-operator and try again`,
      );
    }
    await sleep(clock, POLL_MS, signal);
  }
  const { dropFinalizer } = distributionApi(client);
  let count = 0;
  const failed: { readonly key: string; readonly error: unknown }[] = [];
  for await (const distribution of distributions(client, signal)) {
    if (!distribution.metadata.finalizers?.includes(FINALIZER)) continue;
    try {
      await dropFinalizer(distribution, signal);
      count += 1;
    } catch (error) {
      failed.push({ key: keyOf(distribution), error });
    }
  }
  logger.info('finalizers removed', { count });
  if (failed.length === 0) return;
  const names = failed.slice(0, NAMED).map(({ key }) => key);
  const more = failed.length > NAMED ? ` and ${failed.length - NAMED} more` : '';
  throw new AggregateError(
    failed.map(({ error }) => error),
    `the finalizer stays on ${names.join(', ')}${more}: ${messageOf(failed[0]?.error)}`,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function operatorPods(
  client: KubeClient,
  namespace: string,
  signal: AbortSignal,
): Promise<readonly Pod[]> {
  const { items = [] } = await client.request<List<Pod>>({
    method: 'GET',
    path: listPath(resources.pods, namespace),
    query: { labelSelector: OPERATOR_PODS },
    signal,
  });
  return items;
}

async function* distributions(
  client: KubeClient,
  signal: AbortSignal,
): AsyncGenerator<Distribution> {
  let next: string | undefined;
  do {
    const page: List<Distribution> = await client
      .request<List<Distribution>>({
        method: 'GET',
        path: listPath(resources.distributions),
        query: { limit: PAGE_SIZE, continue: next },
        signal,
      })
      .catch((error) => {
        // The CRDs are gone already, and every Distribution with them.
        if (isKubeError(error, 'NotFound')) return { metadata: {} };
        throw error;
      });
    yield* page.items ?? [];
    next = page.metadata.continue || undefined;
  } while (next !== undefined);
}
