/**
 * What becomes of the volume and the claim through which pods mount a distribution.
 *
 * Both are made once and never edited: the API server lets nobody change where a volume is or for
 * which nodes. A claim in use is never torn from its pods: Kubernetes keeps it until they are gone.
 */
import type { DistributionCondition } from './distributionConditions.ts';

/** A PersistentVolume that bears the distribution's uid. */
export interface VolumeFacts {
  readonly name: string;
  readonly uid: string;
  readonly deleting: boolean;
  /** Of the claim that it is or was bound to. */
  readonly claimUid: string | undefined;
  /** By its name: a copy bears the label, too. */
  readonly isOwn: boolean;
}

/** A PersistentVolumeClaim that bears the distribution's uid: in any namespace, for a copy does, too. */
export interface ClaimFacts {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly uid: string;
  /** The distribution is its owner; of a copy it is not. */
  readonly isOwn: boolean;
  readonly deleting: boolean;
  readonly volumeName: string | undefined;
  readonly bound: boolean;
}

export interface VolumeInput {
  /** The distribution's; undefined when it is gone and was not known. */
  readonly namespace: string | undefined;
  /** Undefined: the distribution is to have no claim. */
  readonly wanted: { readonly claimName: string; readonly volumeName: string } | undefined;
  readonly volumes: readonly VolumeFacts[];
  readonly claims: readonly ClaimFacts[];
}

export interface Named {
  readonly name: string;
  readonly uid: string;
}

export interface VolumeVerdict {
  readonly deleteClaims: readonly (Named & { readonly namespace: string | undefined })[];
  readonly deleteVolumes: readonly Named[];
  /** With the uid of the claim that lost its volume; without one the claim is still to come. */
  readonly createVolume: { readonly claimUid: string | undefined } | undefined;
  readonly createClaim: boolean;
  readonly outlook: VolumeOutlook;
}

export type VolumeOutlook = 'none' | 'pending' | 'bound' | 'terminating' | 'outdated';

export function decideVolume({ namespace, wanted, volumes, claims }: VolumeInput): VolumeVerdict {
  const near = claims.filter((one) => namespace === undefined || one.namespace === namespace);
  const claim = near.find(({ name }) => name === wanted?.claimName);
  const volume = volumes.find(({ name }) => name === wanted?.volumeName);
  const outdated = claim !== undefined && claim.volumeName !== wanted?.volumeName;
  // One whose claim is gone is bound to nobody, for ever: it is made anew.
  const stale = volume?.claimUid !== undefined && volume.claimUid !== claim?.uid;
  const kept = outdated ? claim.volumeName : stale ? undefined : wanted?.volumeName;
  const isFree = wanted !== undefined && !outdated && claim?.deleting !== true;
  return {
    deleteClaims: near
      .filter((one) => one !== claim && isLeft(one))
      .map((one) => ({ ...named(one), namespace: one.namespace })),
    deleteVolumes: volumes.filter((one) => one.name !== kept && isLeft(one)).map(named),
    createVolume: isFree && volume === undefined ? { claimUid: claim?.uid } : undefined,
    createClaim: isFree && claim === undefined && volume?.deleting !== true && !stale,
    outlook: outlookOf(wanted !== undefined, claim, outdated),
  };
}

function outlookOf(
  isWanted: boolean,
  claim: ClaimFacts | undefined,
  outdated: boolean,
): VolumeOutlook {
  if (!isWanted) return 'none';
  if (claim?.deleting) return 'terminating';
  if (outdated) return 'outdated';
  return claim?.bound ? 'bound' : 'pending';
}

/** What was copied, labels and all, is its maker's. */
function isLeft({ isOwn, deleting }: Pick<ClaimFacts, 'isOwn' | 'deleting'>): boolean {
  return isOwn && !deleting;
}

function named({ name, uid }: Named): Named {
  return { name, uid };
}

/** What stands in the way that the copies do not show. */
export type VolumeObstacle =
  | { readonly kind: 'disabled' }
  /** A claim of that name that was not made for this distribution. */
  | { readonly kind: 'conflict' }
  /** The API server's answer to what was created. */
  | { readonly kind: 'refused'; readonly message: string };

type Refusal = Extract<DistributionCondition<'VolumeAvailable'>, { status: 'False' }>['reason'];

export function volumeCondition(
  claimName: string,
  outlook: VolumeOutlook,
  obstacle: VolumeObstacle | undefined,
): DistributionCondition<'VolumeAvailable'> {
  const type = 'VolumeAvailable';
  const field = 'spec.target.persistentVolumeClaim';
  const no = (reason: Refusal, message: string) =>
    ({ type, status: 'False', reason, message }) as const;
  switch (obstacle?.kind) {
    case 'disabled':
      return no(
        'VolumesDisabled',
        `${field}: this operator makes no volumes; set workloads.persistentVolumeClaims=true in its chart, or remove the field`,
      );
    case 'conflict':
      return no(
        'ClaimConflict',
        `${field}: the claim '${claimName}' exists and is not of this Distribution, so it is left alone; delete that claim, or choose another name`,
      );
    case 'refused':
      return no(
        'ClaimRefused',
        `${field}: the API server refuses volume or claim: ${obstacle.message}`,
      );
  }
  switch (outlook) {
    case 'bound':
      return { type, status: 'True', reason: 'VolumeBound', message: `claim '${claimName}'` };
    case 'terminating':
      return no(
        'ClaimTerminating',
        `the claim '${claimName}' is being deleted and made anew once no pod uses it; delete the pods that do`,
      );
    case 'outdated':
      return no(
        'VolumeOutdated',
        `the claim '${claimName}' is for the nodes of an earlier spec.target or folder, and the API server lets nobody change that; delete the claim and the pods that use it, and it is made anew`,
      );
    case 'pending':
    case 'none':
      return no('VolumePending', `the claim '${claimName}' is not bound yet`);
  }
}
