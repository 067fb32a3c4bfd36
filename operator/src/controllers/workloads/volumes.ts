/**
 * Keeps a PersistentVolume and a PersistentVolumeClaim for each distribution that asks for them,
 * and nothing of one that is gone. A claim that was not made for a distribution is never touched.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import type { ClaimObject, VolumeObject } from '../../kube/objects.ts';
import { listPath, objectPath, type Resource, resources } from '../../kube/paths.ts';
import type { KubeObject, Reflector } from '../../kube/reflector.ts';
import { WorkQueue } from '../../kube/workQueue.ts';
import type { DistributionCondition } from '../../policies/distributionConditions.ts';
import {
  decideVolume,
  type Named,
  type VolumeObstacle,
  type VolumeOutlook,
  type VolumeVerdict,
  volumeCondition,
} from '../../policies/volume.ts';
import {
  DISTRIBUTION_UID_LABEL,
  isVolumeNameOf,
  type VolumeManifests,
  volumeManifests,
} from './volumeManifests.ts';

export interface VolumeControllerDependencies {
  readonly client: KubeClient;
  /** Those with the label managed-by, indexed by the uid of their distribution. */
  readonly volumes: Reflector<VolumeObject>;
  readonly claims: Reflector<ClaimObject>;
  /** Whether a Distribution of this uid exists. */
  readonly exists: (uid: string) => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Another's claim of the name may be gone: asked again so often. */
const CONFLICT_MS = 15_000;
/** Until a copy shows what the API server has. */
const LAG_MS = 1_000;

interface Wish {
  readonly namespace: string;
  readonly manifests: VolumeManifests | undefined;
}

interface Standing {
  readonly outlook: VolumeOutlook;
  readonly obstacle: VolumeObstacle | undefined;
}

export class VolumeController {
  readonly #options: { readonly agentRoot: string };
  readonly #deps: VolumeControllerDependencies;
  readonly #queue: WorkQueue;
  readonly #wishes = new Map<string, Wish>();
  readonly #standings = new Map<string, Standing>();
  #listener: (uid: string) => void = () => {};

  constructor(options: { readonly agentRoot: string }, dependencies: VolumeControllerDependencies) {
    this.#options = options;
    this.#deps = dependencies;
    const { clock, random, logger } = dependencies;
    this.#queue = new WorkQueue(
      { concurrency: 2 },
      {
        clock,
        random,
        work: (uid, signal) => this.#reconcile(uid, signal),
        onError: (uid, error, retryAfterMs) =>
          logger.warn('volume will be tried again', { uid, error, retryAfterMs }),
      },
    );
  }

  /** Wants synced reflectors; what distributions that are gone have left is looked for. */
  start(): void {
    for (const object of this.#deps.volumes.list()) this.objectChanged(object, undefined);
    for (const object of this.#deps.claims.list()) this.objectChanged(object, undefined);
    this.#queue.start();
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
  }

  onChange(listener: (uid: string) => void): void {
    this.#listener = listener;
  }

  /** As the Distribution is now, with or without a claim. */
  want(distribution: Distribution): void {
    const { uid, namespace } = distribution.metadata;
    const manifests = volumeManifests(distribution, this.#options.agentRoot);
    const before = this.#wishes.get(uid);
    this.#wishes.set(uid, { namespace, manifests });
    if (before !== undefined && textOf(before.manifests) === textOf(manifests)) return;
    this.#queue.add(uid);
  }

  /** The Distribution is going or gone. Kubernetes keeps a claim that pods still use, and no more. */
  async release(
    { uid, namespace }: Pick<Distribution['metadata'], 'uid' | 'namespace'>,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#release(uid, namespace, signal);
  }

  async #release(uid: string, namespace: string | undefined, signal: AbortSignal): Promise<void> {
    this.#wishes.delete(uid);
    this.#standings.delete(uid);
    const verdict = decideVolume({ namespace, wanted: undefined, ...this.#facts(uid) });
    await this.#delete(verdict, uid, signal);
  }

  forget(uid: string): void {
    this.#wishes.delete(uid);
    this.#standings.delete(uid);
    this.#queue.add(uid);
  }

  /** Undefined while it has no claim. */
  condition(uid: string): DistributionCondition<'VolumeAvailable'> | undefined {
    const claimName = this.#wishes.get(uid)?.manifests?.claimName;
    if (claimName === undefined) return undefined;
    const { outlook = 'pending', obstacle } = this.#standings.get(uid) ?? {};
    return volumeCondition(claimName, outlook, obstacle);
  }

  /** A volume or claim of ours appeared, changed or went. */
  objectChanged(current: KubeObject | undefined, previous: KubeObject | undefined): void {
    const uid = distributionUidOf((current ?? previous)!);
    if (uid !== undefined) this.#queue.add(uid);
  }

  async #reconcile(uid: string, signal: AbortSignal): Promise<void> {
    const wish = this.#wishes.get(uid);
    if (wish === undefined) {
      // One that exists has not been spoken of yet.
      if (!this.#deps.exists(uid)) await this.#release(uid, undefined, signal);
      return;
    }
    const { namespace, manifests: wanted } = wish;
    const verdict = decideVolume({ namespace, wanted, ...this.#facts(uid) });
    await this.#delete(verdict, uid, signal, wish);
    if (wanted === undefined) return this.#stand(uid, { outlook: 'none', obstacle: undefined });
    try {
      const obstacle = await this.#create(uid, namespace, wanted, verdict, signal);
      this.#stand(uid, { outlook: verdict.outlook, obstacle });
    } catch (error) {
      if (!isKubeError(error, 'Forbidden', 'Invalid', 'Refused')) throw error;
      // A quota, a policy of the cluster, a right that was taken away: a person has to act.
      const obstacle = { kind: 'refused', message: error.message } as const;
      this.#stand(uid, { outlook: verdict.outlook, obstacle });
      throw error;
    }
  }

  async #create(
    uid: string,
    namespace: string,
    wanted: VolumeManifests,
    verdict: VolumeVerdict,
    signal: AbortSignal,
  ): Promise<VolumeObstacle | undefined> {
    if (verdict.createClaim) {
      const other = await this.#readClaim(namespace, wanted.claimName, signal);
      if (other !== undefined) {
        const isOurs = distributionUidOf(other) === uid;
        this.#queue.addAfter(uid, isOurs ? LAG_MS : CONFLICT_MS);
        return isOurs ? undefined : { kind: 'conflict' };
      }
    }
    if (verdict.createVolume !== undefined) {
      const body = wanted.volume(verdict.createVolume.claimUid);
      await this.#post(resources.persistentVolumes, undefined, body, signal);
    }
    if (verdict.createClaim) {
      await this.#post(resources.persistentVolumeClaims, namespace, wanted.claim, signal);
      this.#deps.logger.info('claim made', { uid, namespace, name: wanted.claimName });
    }
    return undefined;
  }

  async #post(
    resource: Resource,
    namespace: string | undefined,
    body: object,
    signal: AbortSignal,
  ): Promise<void> {
    const { client } = this.#deps;
    try {
      await client.request({ method: 'POST', path: listPath(resource, namespace), body, signal });
    } catch (error) {
      // Made by the leader before this one, and about to come: the copies will tell.
      if (!isKubeError(error, 'AlreadyExists')) throw error;
    }
  }

  async #delete(
    { deleteClaims, deleteVolumes }: VolumeVerdict,
    uid: string,
    signal: AbortSignal,
    wish?: Wish,
  ): Promise<void> {
    for (const claim of deleteClaims) {
      await this.#deleteObject(resources.persistentVolumeClaims, claim.namespace, claim, signal);
    }
    for (const volume of deleteVolumes) {
      if (await this.#isInUse(uid, volume, wish, signal)) {
        this.#queue.addAfter(uid, LAG_MS);
        continue;
      }
      await this.#deleteObject(resources.persistentVolumes, undefined, volume, signal);
    }
  }

  /** The claim of the wanted volume may be there, and its copy on the way. */
  async #isInUse(
    uid: string,
    volume: Named,
    wish: Wish | undefined,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (wish?.manifests?.volumeName !== volume.name) return false;
    const claim = await this.#readClaim(wish.namespace, wish.manifests.claimName, signal);
    const known = [...this.#deps.volumes.indexed(uid)].find(
      ({ metadata }) => metadata.uid === volume.uid,
    );
    return claim !== undefined && claim.metadata.uid === known?.spec.claimRef?.uid;
  }

  async #readClaim(
    namespace: string,
    name: string,
    signal: AbortSignal,
  ): Promise<ClaimObject | undefined> {
    const path = objectPath(resources.persistentVolumeClaims, { namespace, name });
    try {
      return await this.#deps.client.request<ClaimObject>({ method: 'GET', path, signal });
    } catch (error) {
      if (isKubeError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async #deleteObject(
    resource: Resource,
    namespace: string | undefined,
    { name, uid }: Named,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, logger } = this.#deps;
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid } };
    try {
      const path = objectPath(resource, { namespace, name });
      await client.request({ method: 'DELETE', path, body, signal });
      logger.info('volume or claim deleted', { kind: resource.kind, namespace, name });
    } catch (error) {
      if (!isKubeError(error, 'NotFound', 'Conflict')) throw error;
    }
  }

  #facts(uid: string): Pick<Parameters<typeof decideVolume>[0], 'volumes' | 'claims'> {
    const { volumes, claims } = this.#deps;
    return {
      volumes: [...volumes.indexed(uid)].map(({ metadata, spec }) => ({
        name: metadata.name,
        uid: metadata.uid,
        deleting: metadata.deletionTimestamp !== undefined,
        claimUid: spec.claimRef?.uid,
        isOwn: isVolumeNameOf(metadata.name, uid),
      })),
      claims: [...claims.indexed(uid)].map(({ metadata, spec, status }) => ({
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        isOwn: metadata.ownerReferences?.some((owner) => owner.uid === uid) ?? false,
        deleting: metadata.deletionTimestamp !== undefined,
        volumeName: spec.volumeName,
        bound: status?.phase === 'Bound',
      })),
    };
  }

  #stand(uid: string, standing: Standing): void {
    const before = this.#standings.get(uid);
    this.#standings.set(uid, standing);
    if (JSON.stringify(before) !== JSON.stringify(standing)) this.#listener(uid);
  }
}

export function distributionUidOf({ metadata }: KubeObject): string | undefined {
  return metadata.labels?.[DISTRIBUTION_UID_LABEL];
}

function textOf(manifests: VolumeManifests | undefined): string {
  return JSON.stringify([manifests?.volumeName, manifests?.claim]);
}
