/**
 * What the processes of Sluice say to each other about leases at an origin: who may pull which
 * pieces, how fast, and what it has taken. As to the rest see messages.ts.
 */
import { type Static, Type } from '@sinclair/typebox';
import { Base64, Bytes, Epoch, EXACT, Rate, Sequence, Uid } from './fields.ts';
import { MAX_MIRRORS } from './messages.ts';

/** A run of whole pieces, [first, first + count). */
export const Extent = Type.Object({ first: Bytes, count: Type.Integer({ minimum: 1 }) }, EXACT);
export type Extent = Static<typeof Extent>;

const LeaseKey = {
  /** Holder's incarnation and a number that grows: makes every request idempotent. */
  incarnation: Type.String({ minLength: 8, maxLength: 64 }),
  sequence: Sequence,
};

/**
 * Sequence of the request whose grant the holder has now: of what was granted later, and is not
 * among the unfinished, it knows nothing. Absent: of a process that has heard every answer, or that
 * does not say so yet.
 */
const Heard = Type.Optional(Sequence);

/** Of a node that is short: any of these pieces, so many bytes of them. */
const TopUpAsk = Type.Object({
  /** A BitTorrent bitfield (high bit first). */
  acceptable: Base64(16_384),
  wantBytes: Bytes,
});

/** What surely came under a lease, counted in ways that share no code; all cumulative. */
const Meters = Type.Object({
  /** By the sockets, of requests that are over. */
  socketBytes: Bytes,
  /** By what the origin's answers said of themselves, of the same requests. */
  answeredBytes: Bytes,
  /** Of pieces that are verified, as far as this lease brought them. */
  pieceBytes: Bytes,
});
export type Meters = Static<typeof Meters>;

/**
 * POST /v1/leases.
 * `usedBytes` is what the origin may have written for this lease so far, charged
 * high: payload and headers of every response byte received, cumulative.
 */
export const LeaseRequest = Type.Union([
  Type.Object({
    op: Type.Literal('acquire'),
    ...LeaseKey,
    uid: Uid,
    epoch: Epoch,
    /** The most bytes per second this holder could take now. */
    wantRateBytesPerSecond: Rate,
    wantConnections: Type.Integer({ minimum: 1, maximum: 64 }),
    /** Raw Ed25519 public key of a puller, certified in the grant for its extents. */
    pullerKey: Type.Optional(Base64(64)),
    /** Ids of the mirrors that this holder knows: it may get a lease for one of them. */
    mirrors: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: MAX_MIRRORS }),
    ),
    /** Instead of a puller's key, by a node that is short: the server chooses the pieces. */
    topUp: Type.Optional(TopUpAsk),
    /** Measured time from request to first byte; unknown is 50. */
    timeToFirstByteMs: Type.Optional(Bytes),
  }),
  Type.Object({
    op: Type.Literal('renew'),
    ...LeaseKey,
    leaseId: Type.String({ maxLength: 128 }),
    /** Version of the grant that the holder has now: acknowledges it. */
    version: Type.Integer({ minimum: 1 }),
    usedBytes: Bytes,
    /** Absent: of a process that does not count so yet. */
    meters: Type.Optional(Meters),
    heard: Heard,
    /** Extents, or parts, that are not finished yet. The rest of the grant is done. */
    unfinished: Type.Array(Extent, { maxItems: 256 }),
    wantRateBytesPerSecond: Rate,
    /** More pieces, when it was a lease of top-up. */
    topUp: Type.Optional(TopUpAsk),
    timeToFirstByteMs: Type.Optional(Bytes),
  }),
  /** The end: no socket of the lease is open here, and nothing is outstanding. */
  Type.Object({
    op: Type.Literal('settle'),
    ...LeaseKey,
    leaseId: Type.String({ maxLength: 128 }),
    version: Type.Integer({ minimum: 1 }),
    usedBytes: Bytes,
    meters: Type.Optional(Meters),
    /**
     * Connections that ended without the origin's word: it may have them open still, and so many
     * bytes may come over them. Absent: every end was proven, by the origin's own end or reset.
     */
    unproven: Type.Optional(
      Type.Object({
        connections: Type.Integer({ minimum: 1, maximum: 64 }),
        slackBytes: Bytes,
      }),
    ),
    heard: Heard,
    unfinished: Type.Array(Extent, { maxItems: 256 }),
    /** Why the holder gave up, when the origin was at fault. */
    failure: Type.Optional(
      Type.Object({
        reason: Type.String({ maxLength: 64 }),
        message: Type.String({ maxLength: 1024 }),
        httpStatus: Type.Optional(Type.Integer()),
      }),
    ),
  }),
  /** Nothing of the origin: certificates for what the task says that this process is to sign. */
  Type.Object({
    op: Type.Literal('certify'),
    ...LeaseKey,
    uid: Uid,
    epoch: Epoch,
    /** Raw Ed25519 public key. */
    pullerKey: Base64(64),
  }),
]);
export type LeaseRequest = Static<typeof LeaseRequest>;

/** Proof that a puller may sign hashes of these extents: Ed25519 by the distribution's key. */
export const PullerCertificate = Type.Object(
  {
    pullerKey: Base64(64),
    extents: Type.Array(Extent, { maxItems: 256 }),
    signature: Base64(128),
  },
  EXACT,
);
export type PullerCertificate = Static<typeof PullerCertificate>;

export const LeaseGrant = Type.Object(
  {
    leaseId: Type.String({ maxLength: 128 }),
    version: Type.Integer({ minimum: 1 }),
    uid: Uid,
    epoch: Epoch,
    /** Id of the mirror that it is for, if its holder asked with mirrors; absent: the source itself. */
    mirror: Type.Optional(Type.String({ maxLength: 64 })),
    /** What to pull now, in file order; the unfinished of before included. */
    extents: Type.Array(Extent, { maxItems: 256 }),
    /** All bytes this lease may ever take, headers included, cumulative like usedBytes. */
    maxBytes: Bytes,
    rateBytesPerSecond: Rate,
    /** The most bytes requested and not yet received, over all connections. */
    slackBytes: Bytes,
    connections: Type.Integer({ minimum: 1 }),
    /** Counted by the holder from when it first sent the request. */
    ttlMs: Type.Integer({ minimum: 100 }),
    /** Of a puller; top-up brings pieces that the feed names already. */
    certificate: Type.Optional(PullerCertificate),
  },
  EXACT,
);
export type LeaseGrant = Static<typeof LeaseGrant>;

export const LeaseAnswer = Type.Union([
  Type.Object({ outcome: Type.Literal('granted'), grant: LeaseGrant }, EXACT),
  /** Nothing now; asked again on `askLease` or after retryAfterMs. */
  Type.Object({
    outcome: Type.Literal('wait'),
    reason: Type.Union([
      Type.Literal('NothingToPull'),
      Type.Literal('ConnectionsInUse'),
      Type.Literal('BandwidthInUse'),
      Type.Literal('TrafficExhausted'),
      Type.Literal('NotReady'),
      /** Of top-up: what agents may take of this epoch is spent. */
      Type.Literal('ShareExhausted'),
      /** Of top-up: the distribution, or what its source is like, allows none. */
      Type.Literal('NotAllowed'),
    ]),
    retryAfterMs: Type.Integer({ minimum: 10 }),
  }),
  Type.Object({ outcome: Type.Literal('settled') }),
  /** Of `certify`: they hold as long as the epoch. */
  Type.Object({
    outcome: Type.Literal('certified'),
    certificates: Type.Array(PullerCertificate, { minItems: 1, maxItems: 8 }),
  }),
  /** The lease is not known or has expired: close its connections at once. */
  Type.Object({ outcome: Type.Literal('gone') }),
]);
export type LeaseAnswer = Static<typeof LeaseAnswer>;
