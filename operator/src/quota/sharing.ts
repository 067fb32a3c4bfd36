/**
 * Who gets how much of each origin now, who waits, and who is called when something becomes free.
 * What it knows is gone with its leader; holders say again what they want.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { HeldBack, LimitReason } from '../controllers/dataSide.ts';
import {
  MIN_RATE_BYTES_PER_SECOND,
  type PurposedClaim,
  type Share,
  sharesByPurpose,
} from './allocate.ts';
import { type ActiveClaim, Claims, claimId, type Want } from './claims.ts';
import type { LeaseRecord } from './ledger.ts';
import { groupRecent, groupUsage, type HostGroup, isOver } from './originBooks.ts';
import type { Probes } from './probes.ts';
import { type RateTerms, type Room, rateTerms, steady, WORTH_CHANGING } from './terms.ts';

export interface Waiting {
  readonly holder: string;
  readonly uid: string;
  readonly epoch: number;
  readonly purpose: Want['purpose'];
  /** For its turn; otherwise for something about its distribution to change. */
  readonly isQueued: boolean;
  /** The period's traffic is used up. */
  readonly isExhausted: boolean;
}

export interface SharingDependencies {
  readonly clock: Clock;
  readonly probes: Probes;
  /** Hosts that share limits with this distribution's source; undefined while that is not known. */
  readonly groupOf: (uid: string) => HostGroup | undefined;
  /** Tells a holder to ask now. */
  readonly ask: (waiting: Waiting) => void;
}

/** For nodes that wait, at one group of hosts. */
interface Places {
  left: number;
  readonly shares: ReadonlyMap<string, Share>;
}

/** Who is called and does not ask within this time does not want any more. */
const CALLED_MS = 1_500;
/** A node keeps what it has for so long, though others wait. */
const TURN_MS = 1_000;
/** Of what is wanted: a smaller difference is none. */
const NEARLY = 0.95;

export class Sharing {
  readonly #dependencies: SharingDependencies;
  /** By group of hosts. */
  readonly #claims = new Map<string, Claims>();
  /** By claim. */
  readonly #waiting = new Map<string, Waiting>();
  /** When nodes were called that have not asked since, by claim. */
  readonly #called = new Map<string, { readonly atMs: number; readonly group: string }>();
  #timer: Timer | undefined;

  constructor(dependencies: SharingDependencies) {
    this.#dependencies = dependencies;
  }

  clear(): void {
    this.#claims.clear();
    this.#waiting.clear();
    this.#called.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  want({ key }: HostGroup, want: Omit<Want, 'atMs'>, isHolding: boolean): PurposedClaim {
    this.#called.delete(claimId(want.holder, want.uid));
    const atMs = this.#dependencies.clock.now();
    return this.#claimsOf(key).set({ ...want, atMs }, isHolding);
  }

  withdraw({ key }: HostGroup, holder: string, uid: string): void {
    this.#claimsOf(key).delete(holder, uid);
  }

  /** The process is gone: it wants nothing any more, though its leases count until they are closed. */
  forget(holder: string): void {
    for (const claims of this.#claims.values()) claims.forget(holder);
    for (const [id, waiting] of this.#waiting) {
      if (waiting.holder !== holder) continue;
      this.#waiting.delete(id);
      this.#called.delete(id);
    }
    this.wake();
  }

  waits(waiting: Waiting): void {
    const id = claimId(waiting.holder, waiting.uid);
    this.#called.delete(id);
    this.#waiting.set(id, waiting);
  }

  waitsNoMore(holder: string, uid: string): void {
    this.#waiting.delete(claimId(holder, uid));
  }

  /** Undefined: nothing for this claim now. */
  terms(
    group: HostGroup,
    claim: PurposedClaim,
    stream: { readonly sizeBytes: number } | undefined,
    lease: LeaseRecord | undefined,
  ): RateTerms | undefined {
    const all = this.#free(group);
    const active = this.#active(group);
    const share = sharesByPurpose(active, all).get(claim.id);
    if (share === undefined) return undefined;
    const others = groupUsage(group.books, lease?.leaseId);
    const recent = groupRecent(group.books);
    // Of a stream that begins the origin may emit all slack at once; others save it up.
    const isNewStream = stream !== undefined && lease === undefined;
    const taken = isNewStream ? recent.windowBytes : others.windowBytes;
    const before = lease?.versions.at(-1);
    const free = minus(all.windowBytes, others.rateBytesPerSecond + recent.slackBytes);
    const room: Room = {
      windowBytes: minus(all.windowBytes, taken),
      // What a lease has already is no raise.
      rateBytes: Math.max(free, before?.rateBytesPerSecond ?? 0),
      connections: all.connections - others.connections,
    };
    if (lease !== undefined && isOver(group)) {
      return stream === undefined ? shrunk(group, lease, claim, share, room) : undefined;
    }
    const terms = rateTerms(claim, share, room, stream);
    if (terms === undefined || before === undefined) return terms;
    return steady(before, terms, room, worthFalling(active));
  }

  /** Whether a node that has had `heldMs` is to leave its place to another. */
  isTurnOver(group: HostGroup, heldMs: number): boolean {
    if (heldMs < TURN_MS) return false;
    const shares = this.#shares(group);
    return this.#active(group).some(
      ({ id, purpose }) => purpose === 'topUp' && (shares.get(id)?.connections ?? 0) < 1,
    );
  }

  /** Something became free: pullers that wait are to ask now, and of the nodes as many as fit. */
  wake(): void {
    this.#callAll(({ purpose }) => purpose === 'pull');
    this.#callTurns();
  }

  /**
   * Other limits hold, or something about this distribution has changed: who waits, and not for its
   * turn, is to ask.
   */
  reconsider(uid?: string): void {
    this.#callAll((waiting) => {
      const isInTurn = waiting.purpose === 'topUp' && waiting.isQueued;
      return (uid === undefined || waiting.uid === uid) && !isInTurn;
    });
    this.#callTurns();
  }

  #callAll(isMeant: (waiting: Waiting) => boolean): void {
    for (const [id, waiting] of this.#waiting) if (isMeant(waiting)) this.#call(id, waiting);
  }

  #callTurns(): void {
    this.#forgetAbsent(this.#dependencies.clock.now());
    const places = new Map<string, Places>();
    for (const [id, waiting] of this.#waiting) {
      if (waiting.purpose === 'topUp' && !this.#called.has(id))
        this.#callInTurn(id, waiting, places);
    }
    if (this.#called.size > 0) this.#lookAgain();
  }

  /** Nodes that were called and did not come. */
  #forgetAbsent(nowMs: number): void {
    for (const [id, { atMs, group }] of this.#called) {
      if (nowMs - atMs <= CALLED_MS) continue;
      this.#called.delete(id);
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (waiting !== undefined) this.#claimsOf(group).delete(waiting.holder, waiting.uid);
    }
  }

  /** Pullers whose share is so far from their lease that a renewal may change it; the farthest first. */
  uneven(group: HostGroup): LeaseRecord[] {
    const active = this.#active(group);
    const shares = sharesByPurpose(active, this.#free(group));
    const least = worthFalling(active);
    const apart: { readonly lease: LeaseRecord; readonly bytes: number }[] = [];
    for (const { ledger } of group.books) {
      for (const lease of ledger.leases.values()) {
        const share = shares.get(claimId(lease.holder, lease.uid))?.rateBytesPerSecond;
        if (lease.purpose !== undefined || lease.expired || share === undefined) continue;
        const rate = lease.versions.at(-1)?.rateBytesPerSecond ?? 0;
        const bytes = Math.abs(share - rate);
        const worth = share < rate ? least : WORTH_CHANGING;
        if (bytes >= worth * rate) apart.push({ lease, bytes });
      }
    }
    return apart.sort((a, b) => b.bytes - a.bytes).map(({ lease }) => lease);
  }

  /** Who waits, by purpose. */
  waiting(): Readonly<Record<Want['purpose'], number>> {
    const counts = { pull: 0, topUp: 0 };
    for (const { purpose, isQueued, isExhausted } of this.#waiting.values()) {
      if (isQueued || isExhausted) counts[purpose] += 1;
    }
    return counts;
  }

  /** Which distributions get less than they want because of a limit; those that wait first. */
  heldBack(group: HostGroup): HeldBack[] {
    const holding = new Map<string, number>();
    for (const { ledger } of group.books) {
      for (const { holder, uid, versions, expired } of ledger.leases.values()) {
        if (expired) continue;
        holding.set(claimId(holder, uid), versions.at(-1)?.rateBytesPerSecond ?? 0);
      }
    }
    const byUid = new Map<string, HeldBack>();
    const scarce = scarceIn(group);
    for (const { id, uid, wantRateBytesPerSecond: want } of this.#active(group)) {
      const rate = holding.get(id) ?? 0;
      if (rate >= want * NEARLY) continue;
      const of = byUid.get(uid) ?? noneHeldBack(uid, scarce);
      byUid.set(uid, {
        ...of,
        waiting: of.waiting + (holding.has(id) ? 0 : 1),
        rateBytesPerSecond: of.rateBytesPerSecond + rate,
        wantRateBytesPerSecond: of.wantRateBytesPerSecond + want,
      });
    }
    for (const { uid, isExhausted } of this.#waiting.values()) {
      if (!isExhausted || this.#dependencies.groupOf(uid)?.key !== group.key) continue;
      const of = byUid.get(uid) ?? noneHeldBack(uid, 'TrafficExhausted');
      byUid.set(uid, { ...of, reason: 'TrafficExhausted', waiting: of.waiting + 1 });
    }
    return [...byUid.values()].sort((a, b) => b.waiting - a.waiting);
  }

  #callInTurn(id: string, waiting: Waiting, known: Map<string, Places>): void {
    const group = this.#dependencies.groupOf(waiting.uid);
    if (group === undefined) return;
    const places = known.get(group.key) ?? this.#placesIn(group);
    known.set(group.key, places);
    const share = places.shares.get(id);
    if (places.left < 1 || share === undefined || share.connections < 1) return;
    if (share.rateBytesPerSecond < MIN_RATE_BYTES_PER_SECOND) return;
    places.left -= 1;
    this.#called.set(id, { atMs: this.#dependencies.clock.now(), group: group.key });
    this.#dependencies.ask(waiting);
  }

  #placesIn(group: HostGroup): Places {
    const used = groupUsage(group.books);
    const free = this.#free(group);
    const called = [...this.#called.values()].filter((each) => each.group === group.key);
    const isRoom = used.windowBytes < free.windowBytes;
    const left = isRoom ? free.connections - used.connections - called.length : 0;
    return { left, shares: this.#shares(group) };
  }

  #call(id: string, waiting: Waiting): void {
    this.#waiting.delete(id);
    this.#dependencies.ask(waiting);
  }

  #lookAgain(): void {
    this.#timer ??= this.#dependencies.clock.setTimer(CALLED_MS + 1, () => {
      this.#timer = undefined;
      this.wake();
    });
  }

  #shares(group: HostGroup) {
    return sharesByPurpose(this.#active(group), this.#free(group));
  }

  #active({ key, books }: HostGroup): ActiveClaim[] {
    const leases = books.flatMap(({ ledger }) => [...ledger.leases.values()]);
    return this.#claimsOf(key).active(leases, this.#dependencies.clock.now());
  }

  /** What the limits allow, without what the operator's own requests wait for. */
  #free({ key, limits }: HostGroup): Omit<Room, 'rateBytes'> {
    const reserved = this.#dependencies.probes.reserved(key);
    return {
      windowBytes: Math.max(0, limits.bandwidthBytesPerSecond - reserved.windowBytes),
      connections: Math.max(0, limits.connections - reserved.connections),
    };
  }

  /** Of one host, or of all that an Origin covers. */
  #claimsOf(key: string): Claims {
    let claims = this.#claims.get(key);
    if (claims === undefined) {
      claims = new Claims();
      this.#claims.set(key, claims);
    }
    return claims;
  }
}

/**
 * What of its rate a lease is to give back at least for that to be worth a change. While a puller
 * waits that has none, a little of each of many makes one.
 */
function worthFalling(active: readonly ActiveClaim[]): number {
  const isAwaited = active.some(({ isHolding, purpose }) => purpose === 'pull' && !isHolding);
  return isAwaited ? Math.min(WORTH_CHANGING, 1 / (2 * active.length)) : WORTH_CHANGING;
}

/** Of no limit everything is left, also when it is not known what was leased. */
function minus(limit: number, taken: number): number {
  return limit === Number.POSITIVE_INFINITY ? limit : limit - taken;
}

/**
 * For a lease while more is leased than a limit that was lowered: its share, where that is less
 * than it had, or all that is open fits once the holders have come down to their newest versions.
 * Undefined: it is to end.
 */
function shrunk(
  { limits, books }: HostGroup,
  { leaseId, versions }: LeaseRecord,
  claim: PurposedClaim,
  share: Share,
  room: Room,
): RateTerms | undefined {
  const before = versions.at(-1) as RateTerms;
  const own = before.rateBytesPerSecond + before.slackBytes;
  const terms = rateTerms(
    claim,
    share,
    {
      windowBytes: Math.max(room.windowBytes, own),
      rateBytes: Math.max(room.rateBytes, before.rateBytesPerSecond),
      connections: Math.max(room.connections, before.connections),
    },
    undefined,
  );
  if (terms === undefined) return undefined;
  const next = newestOf(books, leaseId);
  const window = terms.rateBytesPerSecond + terms.slackBytes;
  const fits =
    next.connections + terms.connections <= limits.connections &&
    next.windowBytes + window <= limits.bandwidthBytesPerSecond;
  const isLess = terms.connections < before.connections || window < own * NEARLY;
  return fits || isLess ? terms : undefined;
}

/** Of all but one, when every holder has come down to its newest version. */
function newestOf(books: HostGroup['books'], except: string): Omit<Room, 'rateBytes'> {
  const sum = { windowBytes: 0, connections: 0 };
  for (const { ledger } of books) {
    for (const { leaseId, versions, expired } of ledger.leases.values()) {
      const newest = versions.at(-1);
      if (leaseId === except || newest === undefined) continue;
      sum.windowBytes += (expired ? 0 : newest.rateBytesPerSecond) + newest.slackBytes;
      sum.connections += newest.connections;
    }
  }
  return sum;
}

function noneHeldBack(uid: string, reason: LimitReason): HeldBack {
  return { uid, reason, waiting: 0, rateBytesPerSecond: 0, wantRateBytesPerSecond: 0 };
}

/** Why there is nothing for one who wants something. */
export function scarceIn({ limits, books }: HostGroup): Exclude<LimitReason, 'TrafficExhausted'> {
  const { connections } = groupUsage(books);
  return connections >= limits.connections ? 'ConnectionsInUse' : 'BandwidthInUse';
}
