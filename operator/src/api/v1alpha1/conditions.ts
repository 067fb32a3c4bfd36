/**
 * Conditions of the custom resources and every reason that they can have, explained once.
 *
 * Conditions follow kstatus: `Ready` is always there, `Reconciling` and `Stalled` only while
 * True. docs/ repeats the table; a test keeps both equal.
 */

export type DistributionConditionType =
  | 'Ready'
  | 'Reconciling'
  | 'Stalled'
  | 'SourceResolved'
  | 'RelaysAvailable';

export type OriginConditionType = 'Ready' | 'Stalled';

export const distributionReasons = {
  Delivered: 'Every matching node shows the file of this epoch.',
  NoNodesMatch: 'No node matches spec.target.nodeSelector, so there is nothing to do.',
  Transferring: 'Nodes are receiving the file.',
  Suspended: 'spec.suspend is true: nothing is transferred.',
  Terminating: 'The Distribution is being deleted: processes let go of it.',
  PathConflict:
    'An older Distribution of the namespace uses spec.target.path, a folder in it, or a folder around it.',
  InvalidSource: 'spec.source.url names no file.',
  NodesFailed:
    'Nodes gave up and nothing else is under way; status.failedNodes says which and why.',
  DigestMismatch: 'The bytes that the origin serves do not have the digest of spec.source.digest.',
  ProgressDeadlineExceeded: 'No byte moved for spec.progressDeadlineSeconds.',
  Resolving: 'The operator is asking the origin for length and validator of the file.',
  Resolved: 'Length and validator of the file are known.',
  SourceChanged: 'The file changed at the origin while it was pulled; the next epoch begins.',
  SourceNotFound: 'The origin says that there is no such file (404 or 410).',
  SourceForbidden: 'The origin refuses access (401 or 403); look at spec.source.secretRef.',
  SourceUnavailable: 'The origin cannot be reached, does not answer in time, or fails (5xx, 429).',
  SourceRefused: 'The origin gave an answer that cannot be used.',
  SourceAddressForbidden:
    'The host of the URL has an address that may not be fetched from; see spec.allowPrivateAddresses of the Origin.',
  OriginRequired: 'No Origin covers the URL, and the operator serves only what an Origin covers.',
  OriginBusy: 'The limits of the Origin leave no room to ask it; the operator waits.',
  SecretNotFound: 'The Secret of spec.source.secretRef does not exist.',
  SecretInvalid:
    'The Secret of spec.source.secretRef holds no credentials that Sluice understands.',
  RelaysReady: 'Each domain with target nodes has a relay.',
  RelaysStarting: 'Relays are starting.',
  RelaysMissing:
    'A domain had no relay for more than 30 seconds; its nodes are served by other domains, or pull under leases.',
  RelaysNotNeeded: 'No node waits for bytes.',
} as const;

export type DistributionReason = keyof typeof distributionReasons;

export const originReasons = {
  Enforced: 'The limits hold for every process of the cluster.',
  HostConflict: 'An older Origin has the same host; its limits hold for it.',
} as const;

export type OriginReason = keyof typeof originReasons;

/** metav1.Condition */
export interface Condition<Type extends string = string, Reason extends string = string> {
  readonly type: Type;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly observedGeneration?: number;
  readonly lastTransitionTime: string;
  readonly reason: Reason;
  readonly message: string;
}
