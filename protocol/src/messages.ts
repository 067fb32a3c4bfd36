/**
 * What the processes of Sluice say to each other over the control API.
 *
 * One schema per message; the TypeScript type is derived from it, so that the
 * check at the edge and the type in the code cannot drift apart. Here live
 * shapes and bounds only: no I/O, no decisions.
 *
 * A field that is not known is passed over: a newer release may have added it. Not so in what
 * allows to take from an origin or to delete (EXACT): there it might say that less is allowed.
 */
import { type Static, Type } from '@sinclair/typebox';
import { Base64, Bytes, Epoch, EXACT, Hex20, Port, Rate, Sequence, Uid } from './fields.ts';

/** Audience of the projected ServiceAccount tokens that buy a session. */
export const TOKEN_AUDIENCE = 'sluice';

/**
 * Of a request to the control service: the origin (RFC 6454) of the leader that could not be
 * reached. Whoever stands by then names another one, or holds a request for work until there is one.
 */
export const UNREACHABLE_HEADER = 'sluice-unreachable';

const ReportAnswerFields = { reportIntervalMs: Type.Integer({ minimum: 100 }) };

export const ProcessKind = Type.Union([Type.Literal('relay'), Type.Literal('agent')]);
export type ProcessKind = Static<typeof ProcessKind>;

/** POST /v1/session, with the projected token as bearer. Node and pod come from the token. */
export const SessionRequest = Type.Object({
  /** All that the caller speaks. */
  protocolVersions: Type.Array(Type.Integer(), { minItems: 1, maxItems: 16 }),
  kind: ProcessKind,
  /** Random per process start: tells two runs in the same pod apart. */
  incarnation: Type.String({ minLength: 8, maxLength: 64 }),
  bitTorrentPort: Port,
  /** Where a relay serves HTTP; absent on agents. */
  httpPort: Type.Optional(Port),
});
export type SessionRequest = Static<typeof SessionRequest>;

export const SessionGrant = Type.Object({
  /** The highest that both speak: that of every message of this session. */
  protocolVersion: Type.Integer(),
  sessionToken: Type.String({ maxLength: 4096 }),
  expiresInSeconds: Type.Integer({ minimum: 1 }),
  reportIntervalMs: Type.Integer({ minimum: 100 }),
  nodeName: Type.String({ maxLength: 253 }),
});
export type SessionGrant = Static<typeof SessionGrant>;

/** One file of a distribution; `path` is relative, with `/`, without `.` or `..` segments. */
export const TaskFile = Type.Object({
  path: Type.String({ minLength: 1, maxLength: 1024 }),
  sizeBytes: Bytes,
  /** SHA-256, lower-case hex, when the user gave one. */
  sha256: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
});
export type TaskFile = Static<typeof TaskFile>;

/** Strong ETag or Last-Modified; both absent when the origin gives neither. */
export const Validator = Type.Object({
  etag: Type.Optional(Type.String({ maxLength: 1024 })),
  lastModified: Type.Optional(Type.String({ maxLength: 64 })),
});
export type Validator = Static<typeof Validator>;

/** How a file is known to be the epoch's when a range of it is asked for. */
export const SourceFile = Type.Object({
  path: Type.String({ minLength: 1, maxLength: 1024 }),
  validator: Validator,
});
export type SourceFile = Static<typeof SourceFile>;

/** Where the same bytes are, too: asked under leases of its own. */
export const TaskMirror = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 64 }),
  /** Like that of the source. */
  url: Type.String({ maxLength: 2048 }),
  /** Credentials included; never logged. */
  headers: Type.Record(Type.String(), Type.String()),
  /** Of every file, in the order of the task's. */
  validators: Type.Array(Validator, { maxItems: 1000 }),
  allowPrivateAddresses: Type.Optional(Type.Boolean()),
});
export type TaskMirror = Static<typeof TaskMirror>;

export const MAX_MIRRORS = 8;

export const TaskSource = Type.Object({
  /** Of the one file, or with a slash at its end of the folder that the files are in. */
  url: Type.String({ maxLength: 2048 }),
  /** Headers for the origin, credentials included; never logged. */
  headers: Type.Record(Type.String(), Type.String()),
  /** Every file of the task: an origin has another validator for each. */
  files: Type.Array(SourceFile, { maxItems: 1000 }),
  /** Whether the origin proved that it honours byte ranges (a 206 to a probe). */
  ranges: Type.Boolean(),
  /** Whether the host may mean an address of the cluster's own networks; absent: it may not. */
  allowPrivateAddresses: Type.Optional(Type.Boolean()),
  /** They honour byte ranges. */
  mirrors: Type.Optional(Type.Array(TaskMirror, { maxItems: MAX_MIRRORS })),
});
export type TaskSource = Static<typeof TaskSource>;

export const TopUpSource = Type.Union([Type.Literal('Relay'), Type.Literal('Origin')]);
export type TopUpSource = Static<typeof TopUpSource>;

export const DeliveryTransport = Type.Union([Type.Literal('Hybrid'), Type.Literal('HTTP')]);
export type DeliveryTransport = Static<typeof DeliveryTransport>;

/** Rates in bytes per second. Absent means no floor, or no cap. */
export const Delivery = Type.Object({
  minRate: Type.Optional(Rate),
  maxRate: Type.Optional(Rate),
  maxUploadRate: Type.Optional(Rate),
  /** The first is asked first. */
  topUp: Type.Array(TopUpSource, { maxItems: 2 }),
  transport: DeliveryTransport,
});
export type Delivery = Static<typeof Delivery>;

/** An epoch with more pullers that were wrong has another trouble than these. */
export const MAX_REVOKED = 64;

/** A version that this node or relay may have, and whose bytes may be used: found by their digests. */
export const Donor = Type.Object({
  namespace: Type.String({ maxLength: 63 }),
  uid: Uid,
  epoch: Epoch,
});
export type Donor = Static<typeof Donor>;

export const MAX_DONORS = 16;

/** Those above it are to an agent as if nobody knew them. */
export const MAX_RESTING = 4096;

/** One distribution's epoch, as one process is to work on it. */
export const Task = Type.Object({
  uid: Uid,
  namespace: Type.String({ maxLength: 63 }),
  name: Type.String({ maxLength: 253 }),
  epoch: Epoch,
  swarmId: Hex20,
  pieceLengthBytes: Type.Integer({ minimum: 262_144, maximum: 16_777_216 }),
  files: Type.Array(TaskFile, { minItems: 1, maxItems: 1000 }),
  /** Raw Ed25519 public key of the distribution (32 bytes): the root of trust of the feed. */
  feedKey: Base64(64),
  /** 32 bytes; peers prove membership of the swarm with it. Never logged. */
  swarmSecret: Base64(64),
  /** Bearer token for the relays' HTTP of this distribution. Never logged. */
  relayToken: Type.String({ maxLength: 256 }),
  delivery: Delivery,
  /** Raw Ed25519 keys of pullers whose signatures do not count any more. */
  revokedPullers: Type.Optional(Type.Array(Base64(64), { maxItems: MAX_REVOKED })),
  /** Versions of other distributions; what they have needs not be fetched. */
  donors: Type.Optional(Type.Array(Donor, { maxItems: MAX_DONORS })),
  /** What this process has by its digest already it signs, so that nobody has to pull it. */
  signs: Type.Optional(Type.Boolean()),
  /** Agents: no relay does, so this one pulls extents and signs their hashes, as a relay would. */
  pulls: Type.Optional(Type.Boolean()),
  /** Where the origin is, for processes that may pull from it under leases. */
  source: Type.Optional(TaskSource),
  /** Where the version becomes visible; absent for relays, which only cache. */
  target: Type.Optional(
    Type.Object({
      path: Type.String({ minLength: 1, maxLength: 512 }),
      fileMode: Type.String({ pattern: '^0[0-7]{3}$' }),
      /** Whole versions before this one that stay on the node; absent: one. */
      keepVersions: Type.Optional(Type.Integer({ minimum: 0, maximum: 8 })),
    }),
  ),
});
export type Task = Static<typeof Task>;

export const PeerRole = ProcessKind;

/** A peer the tracker names. `id` is the process's session id; bans key on the address. */
export const Peer = Type.Object({
  id: Type.String({ maxLength: 128 }),
  role: PeerRole,
  host: Type.String({ maxLength: 253 }),
  port: Port,
  httpPort: Type.Optional(Port),
});
export type Peer = Static<typeof Peer>;

/**
 * POST /v1/work: NDJSON in both directions, one message a line; up go reports (see Report). In
 * version 1 of the protocol GET, and nothing goes up. The stream is level-based: after it
 * opens the server says everything that is so, then `synced`; what was not named
 * by then is not this process's any more (its files stay, as orphans if it does not rest).
 */
export const WorkMessage = Type.Union([
  Type.Object({ type: Type.Literal('task'), task: Task }),
  /** Stop this transfer; `deleteFiles` is the explicit tombstone that alone deletes files. */
  Type.Object(
    {
      type: Type.Literal('remove'),
      uid: Uid,
      epoch: Type.Optional(Epoch),
      deleteFiles: Type.Boolean(),
    },
    EXACT,
  ),
  /** The whole list of peers to know for this transfer; replaces the one before. */
  Type.Object({
    type: Type.Literal('peers'),
    uid: Uid,
    epoch: Epoch,
    peers: Type.Array(Peer, { maxItems: 256 }),
  }),
  /** Capacity became free: who waits for this lease asks for it, who holds it renews it. */
  Type.Object({ type: Type.Literal('askLease'), uid: Uid, epoch: Epoch }),
  Type.Object({
    type: Type.Literal('synced'),
    /**
     * Agents: Distributions that live and have nothing for this node to do now: suspended, waiting for
     * their turn, in the grace after the node has left. When they are others, it is said again.
     */
    resting: Type.Optional(Type.Array(Uid, { maxItems: MAX_RESTING })),
  }),
  Type.Object({
    type: Type.Literal('heartbeat'),
    /** An HTTPS URL: where to ask first when this server is gone. */
    nextLeader: Type.Optional(Type.String({ maxLength: 256 })),
  }),
  /** The answer to the report with this sequence, and to those before it. */
  Type.Object({ type: Type.Literal('reported'), sequence: Sequence, ...ReportAnswerFields }),
  /** A report that could not be read; nothing of it counts. */
  Type.Object({ type: Type.Literal('reportRefused'), message: Type.String({ maxLength: 2048 }) }),
]);
export type WorkMessage = Static<typeof WorkMessage>;

export const TransferState = Type.Union([
  Type.Literal('pending'),
  Type.Literal('transferring'),
  Type.Literal('verifying'),
  Type.Literal('ready'),
  Type.Literal('failed'),
  /** The files of a tombstone are gone. */
  Type.Literal('removed'),
]);
export type TransferState = Static<typeof TransferState>;

/** Where received payload bytes came from, cumulative for this epoch on this process. */
export const ReceivedBytes = Type.Object({
  fromPeers: Bytes,
  fromRelays: Bytes,
  fromRelayHttp: Bytes,
  fromOrigin: Bytes,
});
export type ReceivedBytes = Static<typeof ReceivedBytes>;

/** Pullers signed different hashes of one piece: the batches, as evidence. */
export const PieceDispute = Type.Object({
  piece: Bytes,
  /** Of the feed, each a few hundred bytes to 39 KiB. */
  batches: Type.Array(Base64(53_248), { minItems: 2, maxItems: 16 }),
});
export type PieceDispute = Static<typeof PieceDispute>;

export const TransferReport = Type.Object({
  uid: Uid,
  epoch: Epoch,
  state: TransferState,
  verifiedPieces: Bytes,
  verifiedBytes: Bytes,
  received: ReceivedBytes,
  uploadedBytes: Bytes,
  /** Received payload bytes per second over the last second. */
  rateBytesPerSecond: Bytes,
  /** Of who pulls or signs: what it holds, so that extents are planned. A BitTorrent bitfield. */
  bitfield: Type.Optional(Base64(16_384)),
  /** The same: what any of its peers has, so that the origin is not asked for it again. */
  spread: Type.Optional(Base64(16_384)),
  /** The same: how many of the task's revoked pullers the bitfield takes into account. */
  revokedPullers: Type.Optional(Bytes),
  /** The same: a few at a time, until they are settled. */
  disputes: Type.Optional(Type.Array(PieceDispute, { maxItems: 4 })),
  /** Milliseconds since the Unix epoch of the first payload byte; for people, not for decisions. */
  firstByteAtMs: Type.Optional(Bytes),
  error: Type.Optional(
    Type.Object({
      reason: Type.String({ maxLength: 64, pattern: '^[A-Z][A-Za-z]+$' }),
      message: Type.String({ maxLength: 1024 }),
    }),
  ),
});
export type TransferReport = Static<typeof TransferReport>;

/** A line of a work stream's request; without a stream, or in version 1, POST /v1/reports. */
export const Report = Type.Object({
  incarnation: Type.String({ minLength: 8, maxLength: 64 }),
  sequence: Sequence,
  transfers: Type.Array(TransferReport, { maxItems: 10_000 }),
  disk: Type.Optional(Type.Object({ freeBytes: Bytes, totalBytes: Bytes })),
});
export type Report = Static<typeof Report>;

export const ReportAnswer = Type.Object(ReportAnswerFields);
export type ReportAnswer = Static<typeof ReportAnswer>;

/** Every refusal of the control API. */
export const ApiError = Type.Object({
  code: Type.String({ maxLength: 64 }),
  message: Type.String({ maxLength: 2048 }),
});
export type ApiError = Static<typeof ApiError>;
