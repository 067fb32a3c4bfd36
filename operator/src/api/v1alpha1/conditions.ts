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
  | 'RelaysAvailable'
  | 'MirrorsAvailable'
  | 'VolumeAvailable'
  | 'NodesLabelled';

export type OriginConditionType =
  | 'Ready'
  | 'Reconciling'
  | 'Stalled'
  | 'Limiting'
  | 'MetersAgree'
  | 'HostsShared';

export const distributionReasons = {
  Delivered:
    'The matching nodes show the file of this epoch, but for as many as spec.delivery.maxUnready lets go without.',
  NoNodesMatch: 'No node matches spec.target, so there is nothing to do.',
  NodesUnavailable:
    'Nodes match spec.target, and each of those without the file is cordoned or not ready: nobody has it, and nobody is waited for.',
  Transferring: 'Nodes are receiving the file.',
  Suspended: 'spec.suspend is true: nothing is transferred.',
  Terminating: 'The Distribution is being deleted: processes let go of it.',
  PathConflict:
    'An older Distribution of the namespace uses spec.target.path, a folder in it, or a folder around it.',
  InvalidSource:
    'spec.source names no file, or files that cannot be one folder, or of another size than the origin says.',
  DiskFull: 'All nodes that are not ready have failed for want of space on their disks.',
  NamespaceShareExceeded:
    'All nodes that are not ready have failed because the namespace has its share of their disks already; see agent.namespaceShares of the chart.',
  NodesFailed:
    'All nodes that are not ready have failed, for several reasons or one that has no reason of its own here.',
  DigestMismatch: 'The bytes that the origin serves do not have the digest of spec.source.digest.',
  ImageNotPullable: 'No byte moves, and the image of the relays or of the agents cannot be pulled.',
  AgentsMissing:
    'No byte has moved for 30 seconds, and no node that waits has an agent that is connected.',
  DatabaseUnavailable: 'The database does not answer, and what is needed next needs it.',
  ProgressDeadlineExceeded: 'No byte moved for spec.progressDeadlineSeconds.',
  Resolving: 'The operator is asking the origin for length and validator of the file.',
  Resolved: 'Length and validator of the file are known.',
  SourceChanged: 'The file changed at the origin while it was pulled; the next epoch begins.',
  SourceNotFound: 'The origin says that there is no such file (404 or 410).',
  SourceForbidden: 'The origin refuses access (401 or 403); look at spec.source.secretRef.',
  SourceUnavailable: 'The origin cannot be reached, does not answer in time, or fails (5xx, 429).',
  SourceRefused: 'The origin gave an answer that cannot be used.',
  SourceTooLarge:
    'The origin says that there are more bytes than one epoch can have: 65,536 pieces of 16 MiB (1 TiB); the last piece of each file counts whole.',
  SourceAddressForbidden:
    'The host of the URL has an address that may not be fetched from; see spec.allowPrivateAddresses of the Origin.',
  OriginRequired: 'No Origin covers the URL, and the operator serves only what an Origin covers.',
  NamespaceNotAllowed:
    'The Origin of the URL does not allow this namespace; see spec.allowedNamespaces of the Origin.',
  SourceSpansOrigins:
    'Files of the folder are under another Origin than the folder; see spec.hosts of the Origins.',
  OriginBusy: 'The limits of the Origin leave no room to ask it; the operator waits.',
  QuotaExhausted:
    'The bytes that spec.limits.maxTraffic of the Origin allows in this period are used up; the message says until when.',
  SecretNotFound: 'The Secret of spec.source.secretRef does not exist.',
  SecretInvalid:
    'The Secret of spec.source.secretRef holds no credentials that Sluice understands.',
  RelaysReady: 'Each domain with target nodes has a relay.',
  RelaysStarting: 'Relays are starting.',
  RelaysMissing:
    'A domain had no relay for more than 30 seconds; its nodes are served by other domains, or pull under leases.',
  RelaysFailed:
    'All relays of a domain that run have failed with the file, for example because it is more than their cache has room for; its nodes are served by other domains, or pull under leases.',
  RelaysLimited:
    'A domain gets no relay: relay.maxRelays or relay.topologyKeys of the chart leave it none; its nodes are served by other domains, or pull under leases.',
  RelaysNotNeeded: 'No node with an agent waits for bytes.',
  MirrorsReady: 'Each of spec.source.mirrors has files of the same lengths.',
  MirrorUnavailable:
    'A mirror of spec.source.mirrors does not answer, or not as it must; the others and spec.source.url are used.',
  MirrorDropped:
    'Bytes that mirrors may have given do not have the digest: these are not used any more, and the next epoch begins without them.',
  VolumeBound: 'Pods can mount the claim of spec.target.persistentVolumeClaim.',
  VolumePending: 'The claim of spec.target.persistentVolumeClaim is not bound to its volume yet.',
  VolumeOutdated:
    'The claim is for the nodes of an earlier spec.target.nodeSelector, or for another folder; pods may use it, so it is made anew only after you have deleted it.',
  ClaimTerminating: 'The claim is being deleted and waits for the pods that use it.',
  ClaimConflict: 'A claim of that name exists that was not made for this Distribution.',
  ClaimRefused: 'The API server refuses the volume or the claim, for example because of a quota.',
  VolumesDisabled: 'The operator runs without workloads.persistentVolumeClaims.',
  NodesLabelled: 'Each node that shows the file bears the label.',
  NodesBeingLabelled: 'Labels of nodes are being set or removed, some tens a second.',
  NodeLabelsDisabled: 'The operator runs without workloads.nodeLabels.',
} as const;

export type DistributionReason = keyof typeof distributionReasons;

export const originReasons = {
  Enforced: 'The limits hold for every process of the cluster.',
  LimitLowered:
    'A limit was lowered below what is leased; leases from before end or come down to it.',
  WithinLimits: 'No distribution gets less than it wants because of a limit of this Origin.',
  ConnectionsInUse: 'maxConnections holds distributions back: all connections are leased.',
  BandwidthInUse: 'maxBandwidth holds distributions back: all bytes per second are leased.',
  TrafficExhausted:
    'maxTraffic holds distributions back: the bytes of the period are taken, or may have been.',
  InvalidSchedule:
    'A window of spec.schedule names no time zone that is known; until that is mended it may lower the limits, at any time, but not raise them.',
  JournalBehind:
    'The database lacks leases that were granted: nothing is granted until they have ended.',
  JournalBroken:
    'A document is missing in the journal of a host: what was granted is not known, and nothing is granted.',
  NewerSchema:
    'A newer release has written the journal of a host, or its mark in the status; this one cannot read it, changes nothing of it and grants nothing.',
  HostConflict: 'An older Origin has the same host; its limits hold for it.',
  HostNamedTwice: 'A younger Origin names the same host; the limits of this one hold for it.',
  MetersAgree: 'What holders report of their leases agrees with what the origin has answered.',
  UseUnderstated:
    'A holder reports less than its pieces or its other meters prove; the higher is charged.',
  MetersApart:
    'The sockets of a holder have read more, or less, than the answers of the origin say; the higher is charged.',
  UseOverGrant: 'A holder has used more than it was granted; all of it is charged.',
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
