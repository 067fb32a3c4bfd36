/**
 * What is taken from the origin for each epoch of each distribution: which pieces are whose, and
 * how much work a lease gets at once.
 */
import { certify, MAX_EXTENTS } from '@sluice/engine/feed/certificate.ts';
import type { FeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { Extent, LeaseGrant, PullerCertificate } from '@sluice/protocol/leaseMessages.ts';
import type { Terms } from './entries.ts';
import { ExtentPool } from './extents.ts';
import type { LeasedDistribution } from './leases.ts';
import type { LeaseRecord } from './ledger.ts';
import { LEASE_TTL_MS } from './originBook.ts';
import { SourceStandings } from './pullSources.ts';
import { budgetFor } from './terms.ts';
import { TopUpPieces } from './topUpPieces.ts';

export interface Pull {
  readonly distribution: LeasedDistribution;
  readonly feedKeys: FeedKeyPair;
  readonly pool: ExtentPool;
  readonly topUps: TopUpPieces;
  readonly sizeBytes: number;
  readonly standings: SourceStandings;
  /** URLs of mirrors that a lease was granted for, as far as this leader knows. */
  readonly mirrorsUsed: Set<string>;
  /** Leaders before this one have granted leases of it. */
  isInherited: boolean;
  /** The last who asked to pull got nothing because the period's traffic is used up. */
  isExhausted: boolean;
  /** Relays can say to this leader what they hold of it, since then. */
  readonly heardSinceMs: number;
  /** Pieces were given out before this replica led: who has them is not known before this time. */
  unsureUntilMs: number;
}

/** A lease's work: how fast, and what was used for it already. */
export interface Work {
  readonly leaseId: string;
  /** Of the request that is answered with it. */
  readonly sequence: number;
  readonly rateBytesPerSecond: number;
  readonly usedBytes: number;
  /** Who pulls this epoch, the lease's holder included. */
  readonly pullers: number;
}

/** Handed out at once, as time at the holder's rate. */
const EXTENT_SECONDS = 1;
/** One is brought while the next is asked for: else a slow lease would idle after each piece. */
const MIN_PIECES = 2;

/** The same epoch goes on as it was. */
export function newPull(
  distribution: LeasedDistribution,
  known: Pull | undefined,
  nowMs: number,
): Pull {
  const { epoch, files, pieceCount, feedPublicKey, feedSeed } = distribution;
  if (known?.distribution.epoch === epoch) return { ...known, distribution };
  return {
    distribution,
    feedKeys: {
      publicKey: Buffer.from(feedPublicKey, 'base64'),
      seed: Buffer.from(feedSeed, 'base64'),
    },
    pool: new ExtentPool(pieceCount),
    topUps: new TopUpPieces(pieceCount),
    sizeBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
    standings: new SourceStandings(),
    mirrorsUsed: new Set(),
    isInherited: false,
    isExhausted: false,
    heardSinceMs: nowMs,
    unsureUntilMs: 0,
  };
}

/**
 * Gives pieces for about a second, as far as `trafficBytes` allow; answers all that the lease may
 * take from its beginning on, undefined when there is too little traffic left for anything.
 */
export function fill(
  pull: Pull,
  work: Work,
  trafficBytes: number,
  nowMs: number,
): number | undefined {
  const { pool, distribution } = pull;
  const { leaseId, sequence, rateBytesPerSecond, pullers } = work;
  const { pieceLengthBytes, ranges } = distribution;
  const before = countOf(pool.extentsOf(leaseId));
  if (!ranges) pool.take(leaseId, pool.pieceCount, nowMs, sequence);
  else {
    const second = Math.round((rateBytesPerSecond * EXTENT_SECONDS) / pieceLengthBytes);
    // At the end less, so that all pullers end together.
    const atEnd = Math.max(1, Math.ceil(pool.free(nowMs) / (2 * Math.max(1, pullers))));
    const most = Math.max(MIN_PIECES, second);
    pool.take(leaseId, Math.max(0, Math.min(most - before, atEnd)), nowMs, sequence);
  }
  for (;;) {
    const budget = budgetOf(pull, work);
    if (budget <= trafficBytes) return budget;
    // Less work needs less traffic: the last pieces go back first.
    const pieces = piecesIn(pool.extentsOf(leaseId));
    if (pieces.length <= before || !ranges) {
      if (before === 0) pool.release(leaseId);
      return undefined;
    }
    const kept = Math.max(before, Math.floor(pieces.length / 2));
    pool.giveBack(leaseId, pieces.slice(kept));
    if (kept === 0) {
      pool.release(leaseId);
      return undefined;
    }
  }
}

/** What a node that is short asks for. */
export interface TopUpAsk {
  /** A BitTorrent bitfield. */
  readonly acceptable: Uint8Array;
  readonly wantBytes: number;
}

/** A node gets so much at once at most, whatever its rate: others wait for a turn. */
const MAX_TOP_UP_BYTES = 64 * 1024 * 1024;

/** The same for top-up: pieces for about a second, of those that the node lacks. */
export function fillTopUp(
  pull: Pull,
  work: Work,
  { acceptable, wantBytes }: TopUpAsk,
  room: { readonly bytes: number; readonly start: number },
): number | undefined {
  const { topUps, distribution } = pull;
  const { leaseId, rateBytesPerSecond } = work;
  const before = countOf(topUps.extentsOf(leaseId));
  const bytes = Math.min(wantBytes, rateBytesPerSecond * EXTENT_SECONDS, MAX_TOP_UP_BYTES);
  const count = Math.ceil(bytes / distribution.pieceLengthBytes);
  topUps.take(leaseId, acceptable, Math.max(0, count - before), room.start);
  for (;;) {
    const budget = budgetOf(pull, work);
    if (budget <= room.bytes) return budget;
    const pieces = piecesIn(topUps.extentsOf(leaseId));
    if (pieces.length <= Math.max(1, before)) return undefined;
    topUps.giveBack(leaseId, pieces.slice(-1));
  }
}

/** What is left of it to bring. */
export function workOf({ pool, topUps }: Pull, leaseId: string): LeaseGrant['extents'] {
  return topUps.has(leaseId) ? topUps.extentsOf(leaseId) : pool.extentsOf(leaseId);
}

/** The lease is over: what is left of it is anybody's. */
export function release({ pool, topUps }: Pull, leaseId: string): void {
  topUps.release(leaseId);
  pool.release(leaseId);
}

/** For what the lease has to bring, from its beginning on. */
export function budgetOf(pull: Pull, { leaseId, rateBytesPerSecond, usedBytes }: Work): number {
  const { distribution, sizeBytes } = pull;
  const { pieceLengthBytes, ranges } = distribution;
  const pieces = countOf(workOf(pull, leaseId));
  const payload = ranges ? Math.min(sizeBytes, pieces * pieceLengthBytes) : sizeBytes;
  return Math.ceil(usedBytes + budgetFor(payload, rateBytesPerSecond, !ranges));
}

export function grantOf(
  pull: Pull,
  {
    leaseId,
    pullerKey,
    purpose,
    mirror,
  }: Pick<LeaseRecord, 'leaseId' | 'pullerKey' | 'purpose' | 'mirror'>,
  version: number,
  terms: Terms,
  extents: LeaseGrant['extents'],
): LeaseGrant {
  const { uid, epoch } = pull.distribution;
  const { maxBytes, rateBytesPerSecond, slackBytes, connections } = terms;
  const allowed = { maxBytes, rateBytesPerSecond, slackBytes, connections };
  const of = { leaseId, version, uid, epoch, ...(mirror !== undefined && { mirror }) };
  const grant = { ...of, extents, ...allowed, ttlMs: LEASE_TTL_MS };
  if (purpose === 'topUp') return grant;
  return { ...grant, certificate: certificateOf(pull, pullerKey, extents) };
}

/** For what its holder has already, as many as that takes. */
export function certificatesOf(
  pull: Pull,
  pullerKey: string,
  extents: readonly Extent[],
): PullerCertificate[] {
  const parts: Extent[][] = [];
  for (let at = 0; at < extents.length; at += MAX_EXTENTS) {
    parts.push(extents.slice(at, at + MAX_EXTENTS));
  }
  return parts.map((part) => certificateOf(pull, pullerKey, part));
}

function certificateOf(
  { distribution, feedKeys }: Pull,
  pullerKey: string,
  extents: readonly Extent[],
): PullerCertificate {
  const puller = Buffer.from(pullerKey, 'base64');
  return certify(feedKeys, Buffer.from(distribution.swarmId, 'hex'), puller, extents);
}

function countOf(extents: LeaseGrant['extents']): number {
  return extents.reduce((sum, { count }) => sum + count, 0);
}

function piecesIn(extents: LeaseGrant['extents']): number[] {
  return extents.flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, at) => first + at),
  );
}
