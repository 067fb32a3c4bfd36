/**
 * What the controllers need of the side that keeps data: plans go there, progress comes back.
 * Interfaces only; `server/coordinator.ts` and `store/` provide them, tests have their own.
 */
import type {
  DeliveryTransport,
  TaskFile,
  TopUpSource,
  Validator,
} from '@sluice/protocol/messages.ts';
import type { LimitWindow } from '../policies/schedule.ts';
import type { JournalMark, OriginJournals } from '../quota/marks.ts';

export interface SourceRequest {
  readonly url: string;
  /** Credentials of the user's Secret; never logged. */
  readonly headers: Readonly<Record<string, string>>;
  /** For whom, in the journal. */
  readonly uid: string;
  /** Of a set: its files, relative to the URL. */
  readonly files?: readonly NamedFile[];
  /** Of a set: the list of checksums that names its files, relative to the URL. */
  readonly filesFrom?: string;
}

/** A file of a set, before the origin was asked for it. */
export interface NamedFile {
  readonly path: string;
  /** SHA-256, lower-case hex. */
  readonly sha256?: string;
  /** What the origin must say. */
  readonly sizeBytes?: number;
}

/** What the origin says. Asking rejects with an error whose `code` policies/failures.ts knows. */
export interface ResolvedSource {
  /** Of all files. */
  readonly sizeBytes: number;
  /** Of the one file; the files of a set have their own. */
  readonly validator: Validator;
  readonly ranges: boolean;
  /** Of a set. */
  readonly files?: readonly EpochFile[];
}

/** Of an epoch that was made before files had validators of their own, the source has the one. */
export interface EpochFile extends TaskFile {
  readonly validator?: Validator;
}

/** Where the bytes of an epoch are, too: it was asked, and has files of the same lengths. */
export interface EpochMirror {
  readonly id: string;
  readonly url: string;
  /** Of every file, in the order of the epoch's. */
  readonly validators: readonly Validator[];
}

/** One epoch, kept in the store before anyone hears of it. Never logged. */
export interface EpochRecord {
  /** Names the data, on disks and in the journal: of the Distribution that it was made for. */
  readonly uid: string;
  /** The Distribution that has adopted it; absent: the one that it was made for. */
  readonly owner?: string;
  readonly namespace: string;
  readonly name: string;
  readonly epoch: number;
  /** What of the spec this epoch was made from: another one needs another epoch. */
  readonly url: string;
  readonly digest?: string | undefined;
  /** Of a set: the list that named its files; absent: spec.source.files did. */
  readonly filesFrom?: string | undefined;
  readonly source: Omit<ResolvedSource, 'files'>;
  /** In the order of the layout. */
  readonly files: readonly EpochFile[];
  readonly pieceLengthBytes: number;
  readonly pieceCount: number;
  /** 40 hex digits. */
  readonly swarmId: string;
  /** Raw Ed25519 keys, base64. */
  readonly feedPublicKey: string;
  readonly feedSeed: string;
  /** 32 bytes, base64. */
  readonly swarmSecret: string;
  readonly relayToken: string;
  readonly startedAt: string;
  /** Raw keys, base64, of pullers that signed what the origin does not give. */
  readonly revokedPullers?: readonly string[];
  /**
   * RFC 3339, UTC: when Ready first turned True for it. From then on another version at the origin
   * ends it no more.
   */
  readonly completedAt?: string;
  /** It was adopted, and the origin was not asked since whether it still has the same. */
  readonly unproven?: true;
  /**
   * When it began, the epoch before was not in the database any more, and was of the same bytes as
   * far as the status told: nodes may have them.
   */
  readonly isRestored?: true;
  readonly mirrors?: readonly EpochMirror[];
  /** URLs of mirrors that may have given bytes without the digest. */
  readonly droppedMirrors?: readonly string[];
}

/** The newest epochs of Distributions, and of deleted ones until their files are gone. */
export interface EpochStore {
  /** Of the Distribution of this uid; not of a grave. */
  load(owner: string): Promise<EpochRecord | undefined>;
  save(record: EpochRecord): Promise<void>;
  /** Of that epoch, if it is the newest still. */
  saveMirrors(
    uid: string,
    epoch: number,
    mirrors: Pick<EpochRecord, 'mirrors' | 'droppedMirrors'>,
  ): Promise<void>;
  /** Of that epoch, if it is the newest still. */
  saveCompleted(uid: string, epoch: number, completedAt: string): Promise<void>;
  /** Also a grave. */
  delete(uid: string): Promise<void>;
  /** Without graves. */
  living(): Promise<{ readonly uid: string; readonly owner: string }[]>;

  /** Durable: the files of this epoch go at that time. An earlier word stands. */
  bury(uid: string, plot: Plot): Promise<void>;
  graves(): Promise<Grave[]>;
  /**
   * The record, in another Distribution's name now, as it may be already; undefined: it is nobody's to
   * have, or is condemned.
   */
  adopt(
    uid: string,
    heir: { readonly owner: string; readonly name: string },
  ): Promise<EpochRecord | undefined>;
  /** From now on nobody adopts it, and its files go from then on. False: it is no grave. */
  condemn(uid: string, dueAtMs: number): Promise<boolean>;
}

/** Where the files of a deleted Distribution are, and until when. */
export interface Plot {
  /** `spec.target.path`. */
  readonly path: string;
  /** Milliseconds since the Unix epoch: another leader must know it. */
  readonly dueAtMs: number;
  /** Nobody adopts it: its files are wrong, or going. */
  readonly condemned: boolean;
  /** Of its namespace, whose name another one may get; absent: an earlier release has buried it. */
  readonly namespaceUid?: string;
}

export interface Grave extends Plot {
  readonly uid: string;
  readonly owner: string;
  readonly namespace: string;
}

export interface PlanNode {
  readonly name: string;
  readonly domain: string;
  /** Of its object: a machine that was installed anew under the same name has another. */
  readonly uid?: string;
}

/** A mirror that may be used. */
export interface PlanMirror extends EpochMirror {
  readonly headers: Readonly<Record<string, string>>;
}

export interface DistributionPlan {
  readonly record: EpochRecord;
  readonly headers: Readonly<Record<string, string>>;
  /** They cannot be read: nothing is taken from the origin until they can. */
  readonly lacksCredentials?: true;
  /** In the order in which they are used. */
  readonly mirrors?: readonly PlanMirror[];
  readonly delivery: {
    readonly minRate?: number;
    readonly maxRate?: number;
    readonly maxUploadRate?: number;
    readonly topUp: readonly TopUpSource[];
    readonly transport: DeliveryTransport;
  };
  /** Of nodes x size: what nodes may top up from the origin. */
  readonly maxOriginShare: number;
  readonly target: {
    readonly path: string;
    readonly fileMode: string;
    readonly keepVersions: number;
  };
  readonly nodes: readonly PlanNode[];
  readonly priority: number;
  readonly suspend: boolean;
  /** Only relays of its own serve it, and nothing else. */
  readonly dedicatedRelays?: boolean;
  /** Nodes that may transfer at once; absent: all. */
  readonly maxParallelNodes?: number;
  /** What becomes of the files of a node that is no target any more; absent: they stay. */
  readonly leaving?: { readonly deleteFiles: boolean; readonly graceMs: number };
}

export type NodeState = 'pending' | 'transferring' | 'verifying' | 'ready' | 'failed' | 'removed';

export interface NodeProgress {
  readonly name: string;
  readonly state: NodeState;
  /** Whether its agent has a work stream open. */
  readonly connected: boolean;
  readonly verifiedBytes: number;
  readonly rateBytesPerSecond: number;
  readonly received: {
    readonly fromPeers: number;
    readonly fromRelays: number;
    readonly fromRelayHttp: number;
    readonly fromOrigin: number;
  };
  readonly error?: { readonly reason: string; readonly message: string } | undefined;
}

/** Of the epoch that was applied last. */
export interface DistributionProgress {
  readonly epoch: number;
  /**
   * What an earlier leader knew of the nodes is not read yet: that they have nothing is not to be
   * concluded. When it is, `onChange` says so.
   */
  readonly isUnread?: boolean;
  readonly nodes: readonly NodeProgress[];
  /** Taken from the origin by relays and nodes. */
  readonly originBytes: number;
  /** A puller found another version at the origin than the plan's. */
  readonly sourceChanged: boolean;
  /** Why mirrors give nothing, by URL. */
  readonly mirrorFailures?: ReadonlyMap<string, PullFailure>;
  /** URLs of mirrors that bytes of this epoch may have come from. */
  readonly suspectMirrors?: readonly string[];
  /** Pullers have signed what the source does not give. */
  readonly isDisputed?: boolean;
  /** Why pullers get nothing from the origin at the moment, when they do not. */
  readonly pull?: PullTrouble | undefined;
  /** Relays that are there and have failed with this epoch. */
  readonly failedRelays?: readonly FailedRelay[];
}

export interface FailedRelay extends PullFailure {
  /** Of the topology. */
  readonly domain: string;
}

/** Why a puller gave up. */
export interface PullFailure {
  readonly reason: string;
  readonly message: string;
}

/** An error of the origin or of its limits, as policies/failures.ts knows it. */
export interface PullTrouble {
  readonly code: 'HttpStatus' | 'Unreachable' | 'BadAnswer' | 'QuotaExhausted';
  readonly message: string;
  readonly httpStatus?: number | undefined;
  /** Milliseconds since the Unix epoch. */
  readonly untilMs?: number | undefined;
}

/** What keeps the data side from working that is no distribution's fault. */
export interface Troubles {
  isDatabaseAway(): boolean;
  /** Why the image of relays of this domain, or of this node's agent, cannot be pulled. */
  relayImage(domain: string): string | undefined;
  agentImage(node: string): string | undefined;
}

export interface OriginPolicy {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly limits: {
    readonly maxConnections?: number;
    readonly maxBandwidthBytesPerSecond?: number;
    readonly maxTraffic?: { readonly bytes: number; readonly periodSeconds: number };
  };
  /** Windows with limits of their own. */
  readonly schedule?: readonly LimitWindow[];
  readonly closeAfterSeconds: number;
  /** Whose distributions may use it; undefined: all. */
  readonly namespaces?: readonly string[] | undefined;
  /** Higher priorities count as this one; undefined: none does. */
  readonly maxPriority?: number | undefined;
  readonly allowPrivateAddresses: boolean;
  /** Credentials of sources may go to agents. */
  readonly allowAgentCredentials: boolean;
}

export type LimitReason = 'ConnectionsInUse' | 'BandwidthInUse' | 'TrafficExhausted';

/** A distribution that gets less than it wants because of a limit. */
export interface HeldBack {
  readonly uid: string;
  readonly reason: LimitReason;
  /** Processes that have no lease and want one. */
  readonly waiting: number;
  /** Of those that have one. */
  readonly rateBytesPerSecond: number;
  readonly wantRateBytesPerSecond: number;
}

/** Why what a holder reports of a lease cannot be. */
export type MeterReason = 'UseUnderstated' | 'MetersApart' | 'UseOverGrant';

/** Of one holder, the latest. */
export interface MeterDisagreement {
  /** As people know it. */
  readonly holder: string;
  readonly reason: MeterReason;
  /** What it says that it has used; of meters that are apart, what its sockets read. */
  readonly reportedBytes: number;
  /** What its pieces and other meters prove, what the answers say, or what it was granted. */
  readonly otherBytes: number;
  /** On the clock. */
  readonly atMs: number;
}

export interface OriginUsage {
  readonly connections: number;
  readonly rateBytesPerSecond: number;
  /** Of rate x 1 s + slack: what maxBandwidth is compared with. */
  readonly windowBytes: number;
  /** What holders say they have taken in this period. */
  readonly trafficBytes: number;
  /** The same, with what they might have taken besides: what maxTraffic is compared with. */
  readonly chargedBytes: number;
  readonly periodStart?: string | undefined;
  /** When what maxTraffic held back goes on. */
  readonly periodEnd?: string | undefined;
  /** Since when requests are refused because the period's traffic is used up. */
  readonly exhaustedAt?: string | undefined;
  /** In force now; undefined is no limit. */
  readonly limits: {
    readonly connections: number;
    readonly bandwidthBytesPerSecond: number;
    readonly trafficBytes: number | undefined;
  };
  /** When the schedule changes them next. */
  readonly limitsChangeAt?: string | undefined;
  /** By when what is leased is within the limits again; only while it is not. */
  readonly withinLimitsBy?: string | undefined;
  /** Those that wait longest first. */
  readonly heldBack: readonly HeldBack[];
  /** Lately, the latest first. */
  readonly disagreements: readonly MeterDisagreement[];
}

export interface RefusableSource {
  readonly uid: string;
  readonly namespace: string;
  readonly url: string;
}

/** By the rules of Origins. */
export interface OriginRefusal {
  readonly reason: 'NamespaceNotAllowed' | 'SourceSpansOrigins';
  readonly message: string;
}

export interface Coordinator {
  setOrigins(policies: readonly OriginPolicy[]): void;
  /** Every node of the cluster, by name: of others nothing is to be removed. */
  setNodes(names: ReadonlySet<string>): void;
  /** Idempotent; a larger epoch replaces the one before. */
  apply(plan: DistributionPlan): void;
  /**
   * Said once, by a new leader: every plan that can be made now has been applied. Before it nobody
   * may be told that a distribution is not his.
   */
  primed(): void;
  remove(uid: string, options: { readonly deleteFiles: boolean }): void;
  /** No process has it any more; one that is gone is not waited for. */
  removed(uid: string): boolean;
  /** Nodes that have not said that its files are gone, until they do; undefined: not known yet. */
  missing(uid: string): readonly string[] | undefined;
  progress(uid: string): DistributionProgress | undefined;
  resolveSource(request: SourceRequest, signal: AbortSignal): Promise<ResolvedSource>;
  onChange(listener: (uid: string) => void): void;
  originUsage(name: string): OriginUsage | undefined;
  /** Why nothing may be taken from the source of this distribution; undefined: it may. */
  refusalOf(source: RefusableSource): OriginRefusal | undefined;
  /** Namespace and name, of what was applied. */
  nameOf(uid: string): string | undefined;
  /** What the Origin's status is to say of its journals; undefined: as it says now. */
  originJournals(name: string): OriginJournals | undefined;
  /** The status says so now. */
  originMarked(marks: readonly JournalMark[]): void;
  /** An Origin's status is to be written now: grants wait for it. */
  onOriginChange(listener: (name: string) => void): void;
}

/** As this replica finds it. Newer: a release to come has written to it. */
export type DatabaseState =
  | { readonly kind: 'answers' | 'newer' }
  /** On the clock. */
  | { readonly kind: 'away'; readonly sinceMs: number };

/** The whole data side: store, control API, coordinator. */
export interface DataSide {
  readonly coordinator: Coordinator;
  readonly troubles: Troubles;
  readonly epochs: EpochStore;
  /** On every replica: waits for the database, publishes the CA, serves the control API. */
  start(signal: AbortSignal): Promise<void>;
  /** Also before it has started. */
  databaseState(): DatabaseState;
  /** This replica leads in this term: fences the journals before its first grant. */
  lead(term: number, signal: AbortSignal): Promise<void>;
  /** Writes what the next leader is to know; returns soon, also when the database is away. */
  flush(): Promise<void>;
  /** Grants nothing more, at once. */
  stepDown(): void;
  stop(): Promise<void>;
  ready(): boolean;
}
